"""How a run uses whatever executor it is given: calls go out, some at a time, and answers come back in order.

A call that has no answer, because its worker died or did not end in time, is `Lost`; whatever a call raises is raised
here as if it had been made in this process.
"""

from __future__ import annotations

import importlib
import pickle
import queue
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, NamedTuple

from factorgraph.distributed.spawn_pool import SpawnPool
from factorgraph.errors import GraphError

Call = Callable[[], Any]

_CHUNK_SECONDS = 0.05  # of calls that are sent together
_CHUNKS = 4  # at least, for each worker
_ON_THEIR_WAY = 8  # chunks, for each worker
_FEW_WORKERS = 8  # where an executor does not say how many it has


class Lost(NamedTuple):
    """A call without an answer, and why."""

    reason: str


class Workers:
    """An executor, or none: then calls are made in place.

    Parameters
    ----------
    executor
        Any `concurrent.futures.Executor`.

    Raises
    ------
    GraphError
        It cannot ``submit``.
    """

    def __init__(self, executor: Any = None) -> None:
        if executor is not None and (isinstance(executor, type) or not callable(getattr(executor, "submit", None))):
            raise GraphError(
                f"optimise: executor={executor!r} cannot submit(function, ...); give a concurrent.futures.Executor, "
                "such as fg.SpawnPool(workers=8), or Dask's client.get_executor()."
            )
        self._executor: Executor | None = executor
        self._dumps = _pickler(executor)
        self._num = getattr(executor, "workers", None) or getattr(executor, "_max_workers", None) or _FEW_WORKERS

    def close(self) -> None:
        """Make calls in place from now on: the executor may be gone."""
        self._executor = None

    @property
    def are_there(self) -> bool:
        return self._executor is not None

    def each(self, calls: Sequence[Call]) -> Iterator[Any]:
        """What each of the ``calls`` returns, in their order, or `Lost`. In errors they are named by their ``label``.

        Raises
        ------
        GraphError
            A call cannot be sent to another process, or the executor broke.
        Exception
            What a call raised.
        """
        if self._executor is None:
            yield from (call() for call in calls)
            return
        waiting = list(range(len(calls)))[::-1]
        lonely: list[int] = []  # to be sent by themselves
        there: dict[Future, list[int]] = {}
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        results: dict[int, Any] = {}
        seconds, place = _CHUNK_SECONDS, 0
        try:
            while place < len(calls):
                while (waiting or lonely) and len(there) < _ON_THEIR_WAY * self._num:
                    chunk = [lonely.pop()] if lonely else _taken(waiting, self._size(seconds, len(waiting)))
                    future = self._sent([calls[i] for i in chunk], _label(calls[chunk[0]]))
                    there[future] = chunk
                    future.add_done_callback(done.put)
                future = done.get()
                chunk = there.pop(future)
                answers, took = _answers(future, len(chunk), _label(calls[chunk[0]]))
                if answers is None:
                    lonely += chunk[::-1]
                else:
                    seconds = took / len(chunk) if took else seconds
                    results.update(zip(chunk, answers, strict=True))
                while place in results:
                    yield results.pop(place)
                    place += 1
        finally:
            for future in there:
                future.cancel()

    def _size(self, seconds: float, num: int) -> int:
        """How many calls of so many ``seconds`` are sent together, where ``num`` are left."""
        if isinstance(self._executor, SpawnPool):
            return 1  # it costs nothing there, and time-outs are of one call
        return max(1, min(int(_CHUNK_SECONDS / max(seconds, 1e-6)), num // (_CHUNKS * self._num)))

    def _sent(self, calls: list[Call], label: str) -> Future:
        assert self._executor is not None
        if self._dumps is None:
            return self._executor.submit(_made, calls)
        try:
            payload = self._dumps(calls)
        except Exception as error:
            raise GraphError(
                f"{label} cannot be sent to another process: {str(error) or type(error).__name__}. Define its class, "
                "and the functions it refers to, at the top level of a module (no lambda, no class within a function), "
                "and open files in the worker; or use a ThreadPoolExecutor, which takes everything."
            ) from error
        return self._executor.submit(_loaded_and_made, payload)


def _label(call: Any) -> str:
    return getattr(call, "label", "a call")


def _pickler(executor: Any) -> Callable[[Any], bytes] | None:
    """How calls are packed for an executor; None where they need not be."""
    if isinstance(executor, ThreadPoolExecutor):
        return None
    home = type(executor).__module__.partition(".")[0]
    if not isinstance(executor, (SpawnPool, ProcessPoolExecutor)) and home != "mpi4py":
        try:  # what Dask and loky work with
            return importlib.import_module("cloudpickle").dumps
        except ImportError:
            pass
    return pickle.dumps


def _taken(waiting: list[int], num: int) -> list[int]:
    return [waiting.pop() for _ in range(min(num, len(waiting)))]


class _Made(NamedTuple):
    """Of a chunk: ``raised`` is what ended it early, ``unread`` why it could not even be unpacked."""

    answers: list[Any]
    seconds: float
    raised: Exception | None = None
    unread: str = ""


def _made(calls: Sequence[Call]) -> _Made:
    began = time.perf_counter()
    answers: list[Any] = []
    for call in calls:
        try:
            answers.append(call())
        except MemoryError as error:
            answers.append(Lost(f"it needs more memory than there is ({error})"))
        except SystemExit as error:
            answers.append(Lost(f"it called sys.exit({error.code!r})"))
        except Exception as error:
            return _Made([], 0.0, error)
    return _Made(answers, time.perf_counter() - began)


def _loaded_and_made(payload: bytes) -> _Made:
    try:
        calls = pickle.loads(payload)
    except Exception:  # what an import of the user's may raise
        return _Made([], 0.0, None, traceback.format_exc(limit=-2))
    return _made(calls)


def _answers(future: Future, num: int, label: str) -> tuple[list[Any] | None, float]:
    """The answers of ``num`` calls, None where they have to be made one by one to see which of them has none; and how
    long they took."""
    try:
        made = future.result()
    except BrokenExecutor as error:
        raise GraphError(
            f"{label}: the executor broke ({error}): a worker died, and all others with it. fg.SpawnPool(workers=8) "
            "loses only the dataset."
        ) from error
    except CancelledError as error:
        raise GraphError(f"{label}: the executor cancelled its call; was it shut down?") from error
    except Exception as error:  # of the executor's own: a worker died, time is over
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        return ([Lost(reason[:300])] if num == 1 else None), 0.0
    if made.unread:
        raise GraphError(
            f"{label} cannot be unpacked in a worker:\n{made.unread}Its class has to be in a module that workers can "
            "import, or in the script that is run, not in a notebook or an interactive session."
        )
    if made.raised is not None:
        raise made.raised
    return made.answers, made.seconds
