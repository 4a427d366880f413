"""What can go wrong in a search, as one tree of exceptions."""

from __future__ import annotations


class SearchError(RuntimeError):
    """Any failure of a search; the subclasses say which."""


class SettingError(SearchError, TypeError):
    """A search was given a setting it does not have, or a value it cannot use."""


class TargetError(SearchError, ValueError):
    """A search cannot take this target (improper prior, not JAX, ...)."""


class LikelihoodTypeError(SearchError, TypeError):
    """A likelihood returned something other than one real number."""


class LikelihoodFailedError(SearchError):
    """A likelihood raised or returned nan at too many points."""


class MissingPackageError(SearchError, ImportError):
    """A search stands on a package that is not installed; the message has the command."""


class SearchWarning(UserWarning):
    """The search finished, but something about it should be known."""
