"""The one tree of exceptions, and the sentence every "unknown name" error ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class FactorGraphError(Exception):
    """Root of every error this package raises on purpose."""


class ModelError(FactorGraphError, ValueError):
    """A model that cannot mean what was written."""


class UnknownArgument(FactorGraphError, TypeError):
    """A keyword that the callee does not have."""


class UnknownAttribute(FactorGraphError, AttributeError):
    """An attribute that the model does not have."""


class PriorError(FactorGraphError, ValueError):
    """Parameters that define no distribution, or a variable that needs a prior and has none."""


class GraphError(FactorGraphError, ValueError):
    """A factor graph that cannot be solved as it stands."""


class LikelihoodError(FactorGraphError, RuntimeError):
    """The user's likelihood raised, or returned something that is no log likelihood."""


class DatasetsLeftOut(LikelihoodError):
    """``optimise(strict=True)`` met datasets that it cannot use; ``result`` is that of all others."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class WorkerLost(FactorGraphError, RuntimeError):
    """A call that has no answer: its worker died each time, or did not end in time."""


class CheckpointError(FactorGraphError, RuntimeError):
    """A folder that a run cannot keep its pieces in: in use, not writable, or of another run."""


class SearchError(FactorGraphError, RuntimeError):
    """A search that cannot run, or did not end with an answer."""


def name_hint(name: str, allowed: Iterable[str]) -> str:
    """The end of an "unknown name" message: the nearest name there is, and all of them."""
    names = list(allowed)
    nearest = difflib.get_close_matches(name, names, n=1)
    question = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{question} Allowed: {', '.join(map(repr, names)) or 'none'}."
