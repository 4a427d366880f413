"""The one place that meets a user's likelihood: what it returns is judged, what it raises is recorded.

A point whose likelihood is nan, +inf or raises is *bad*: it counts as log likelihood -inf and the run goes on, unless
too many points are bad. -inf is an answer, not a fault (a hard constraint). A result that is no real scalar is an error
at once.
"""

from __future__ import annotations

import math
import numbers
import os
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import LikelihoodFailedError, LikelihoodTypeError, SearchError, SearchWarning

_JUDGED_AFTER = 50  # bad points before their fraction is judged
_HOPELESS_AFTER = 10  # bad points without a single answer
_IMPOSSIBLE_AFTER = 20_000  # points without a single finite one
_NOT_THE_USERS = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), str(Path(__file__).parent) + os.sep)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPoint:
    """One point at which the likelihood failed: ``x`` (P,), ``parameters`` (P,) in the user's coordinates, and why."""

    x: np.ndarray
    parameters: np.ndarray
    reason: str


class Guard:
    """Calls a likelihood, counts its failures, and stops the run when there are too many.

    Parameters
    ----------
    function : x (P,) -> log likelihood, on the host.
    names : the parameters' names, for messages.
    to_parameters : (n, P) -> (n, P), x to the user's coordinates, for messages.
    floor : what a bad point and -inf count as; a sampler that cannot take -inf gets a large negative number.
    fail_above : the run fails when more than this fraction of the points is bad.
    warn_above : `finish` warns above this fraction.
    keep : how many bad points are kept.

    Raises
    ------
    LikelihoodTypeError : a result is not one real number.
    LikelihoodFailedError : too many bad points; the message names them and the user's own line.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], Any] | None = None,
        *,
        names: Sequence[str] = (),
        to_parameters: Callable[[np.ndarray], np.ndarray] | None = None,
        floor: float = -math.inf,
        fail_above: float = 0.5,
        warn_above: float = 1e-3,
        keep: int = 10,
    ) -> None:
        self._function = function
        self._names = tuple(names)
        self._to_parameters = to_parameters
        self._floor = floor
        self._fail_above = fail_above
        self._warn_above = warn_above
        self._keep = keep
        self._first_error: Exception | None = None
        self.num_calls = 0
        self.num_finite = 0
        self.num_bad = 0
        self.num_raised = 0
        self.bad_points: list[BadPoint] = []

    def __call__(self, x: np.ndarray) -> float:
        """The log likelihood at ``x`` (P,), or the floor."""
        if self._function is None:
            raise SearchError("This guard only judges batches: it was built without a function.")
        self.num_calls += 1
        try:
            value = self._function(np.array(x, dtype=np.float64))  # a copy: the function may write into it
        except (SearchError, MemoryError):
            raise
        except Exception as error:  # the one broad except of the package: user code may raise anything
            self.num_raised += 1
            self._first_error = self._first_error or error
            return self._reject(x, describe_exception(error))
        value = real_scalar(value)
        if math.isfinite(value):
            self.num_finite += 1
            return value
        self._check_possible()
        return self._floor if value == -math.inf else self._reject(x, f"returned {value}")

    def batch(self, xs: np.ndarray) -> np.ndarray:
        """The log likelihoods at ``xs`` (n, P) one after the other, (n,)."""
        return np.array([self(x) for x in xs], dtype=np.float64)

    def judge(self, xs: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Judge ``values`` (n,) computed elsewhere at ``xs`` (n, P): bad ones and -inf are replaced by the floor."""
        values = np.asarray(values, dtype=np.float64)
        self.num_calls += len(values)
        self.num_finite += int(np.sum(np.isfinite(values)))
        self._check_possible()
        bad = np.isnan(values) | (values == np.inf)
        for index in np.flatnonzero(bad):
            self._reject(xs[index], f"returned {values[index]}")
        return np.where(bad | (values == -np.inf), self._floor, values)

    def report(self) -> str:
        """How many points were bad, and the first of them with the reason."""
        text = f"The log likelihood failed at {self.num_bad} of {self.num_calls} points ({self.num_raised} raised)."
        for point in self.bad_points[:3]:
            text += f"\n  at {self._describe(point.parameters)}: {point.reason}"
        return text

    def finish(self) -> None:
        """Called at the end of a run: fail or warn if the bad points are too many to be passed over."""
        if self.num_bad > self._fail_above * self.num_calls:
            self._fail()
        if self.num_bad > self._warn_above * self.num_calls:
            warnings.warn(f"{self.report()}\nThey were counted as impossible.", SearchWarning, stacklevel=3)

    def _check_possible(self) -> None:
        if self.num_finite == 0 and self.num_calls >= _IMPOSSIBLE_AFTER:
            raise LikelihoodFailedError(
                f"Not a single possible model among {self.num_calls} points, the log likelihood is -inf at "
                f"{self.num_calls - self.num_bad} of them: widen or move the priors, or mend the likelihood."
            )

    def _reject(self, x: np.ndarray, reason: str) -> float:
        self.num_bad += 1
        if len(self.bad_points) < self._keep:
            x = np.array(x, dtype=np.float64)
            parameters = x if self._to_parameters is None else np.asarray(self._to_parameters(x[None]))[0]
            self.bad_points.append(BadPoint(x=x, parameters=parameters, reason=reason))
        hopeless = self.num_bad == self.num_calls and self.num_bad >= _HOPELESS_AFTER
        if hopeless or (self.num_bad >= _JUDGED_AFTER and self.num_bad > self._fail_above * self.num_calls):
            self._fail()
        return self._floor

    def _fail(self) -> None:
        raise LikelihoodFailedError(
            f"{self.report()}\nMore than {self._fail_above:.0%} is too many for the answer to mean anything: "
            "let the likelihood return -inf where a model is impossible, or narrow the priors."
        ) from self._first_error

    def _describe(self, parameters: np.ndarray) -> str:
        names = self._names if len(self._names) == len(parameters) else [f"x[{i}]" for i in range(len(parameters))]
        return ", ".join(f"{name} = {value:.6g}" for name, value in zip(names, parameters))


def real_scalar(value: Any) -> float:
    """``value`` as a float.

    Raises
    ------
    LikelihoodTypeError : it is an array, complex, None, text, ...
    """
    if isinstance(value, numbers.Real):  # Python's and NumPy's scalars
        return float(value)
    shape, kind = getattr(value, "shape", None), getattr(getattr(value, "dtype", None), "kind", None)
    if shape == () and kind in ("f", "i", "u", "b"):
        return float(value)
    raise LikelihoodTypeError(not_a_scalar_message(type(value).__name__, shape, getattr(value, "dtype", None)))


def not_a_scalar_message(type_name: str, shape: tuple[int, ...] | None, dtype: Any) -> str:
    """The error for a likelihood that returns something other than one real number."""
    described = type_name if shape is None else f"{type_name} of shape {shape} and dtype {dtype}"
    mend = "sum it over the data, e.g. `.sum()`" if shape else "return one real number, e.g. `float(...)`"
    return f"The log likelihood must return one real number, got {described}: {mend}."


def describe_exception(error: Exception) -> str:
    """Type, message and the user's own line: the last frame outside libraries and this package, else the last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)] or list(frames)
    last = own[-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno}, in {last.name}: `{last.line}`)"
