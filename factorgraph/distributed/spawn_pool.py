"""A pool of processes on this machine that outlives any of them.

Each worker has a keeper, a thread that owns its process: it hands over one call at a time, and sees it end, die, or
overrun its time. What happens to one call therefore never touches another.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, ParamSpec, TypeVar

from factorgraph.distributed.worker import BEGUN, ONE_THREAD, RETURNED, XLA_ONE_THREAD, serve
from factorgraph.errors import GraphError, WorkerLost

P = ParamSpec("P")
T = TypeVar("T")

RETRIES = 2  # of a call whose worker died
_STARTING = 300.0  # seconds a worker may take to start, or to load what a call needs
_LEAVING = 5.0  # seconds
_ENVIRONMENT = threading.Lock()


class _Call(NamedTuple):
    payload: bytes
    future: Future


class SpawnPool(Executor):
    """Processes on this machine that make calls: a `concurrent.futures.Executor` that survives its workers.

    A worker that dies, whatever kills it, loses only the call it was making: that is made again in a fresh one, twice
    at most, and then fails. A call that takes too long is stopped with its worker. Workers start afresh ("spawn"), with
    one thread each for BLAS and XLA, and end with the process that made them.

    Parameters
    ----------
    workers
        How many processes.
    timeout
        Seconds that one call may take, its data loaded; None: as long as it likes.

    Raises
    ------
    GraphError
        No worker, or a time that is not positive.

    Notes
    -----
    A script that makes one has to be guarded, as always with "spawn": ``if __name__ == "__main__":``.

    Examples
    --------
    >>> with fg.SpawnPool(workers=8, timeout=600.0) as pool:
    ...     result = graph.optimise(executor=pool)
    """

    def __init__(self, workers: int = 2, timeout: float | None = None) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise GraphError(f"SpawnPool: workers={workers!r}; at least one process is needed.")
        if timeout is not None and not timeout > 0.0:
            raise GraphError(f"SpawnPool: timeout={timeout!r}; give a number of seconds, or None for no limit.")
        self.workers, self.timeout = workers, timeout
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._keepers = [_Keeper(self._calls, timeout) for _ in range(workers)]
        for keeper in self._keepers:
            keeper.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of ``fn(*args, **kwargs)``. Its exception is that of the call, or `WorkerLost`.

        Raises
        ------
        Exception
            Whatever pickle says, where it cannot take the call.
        RuntimeError
            The pool was shut down.
        """
        call = _Call(pickle.dumps((fn, args, kwargs)), Future())
        with self._lock:
            if self._is_closed:
                raise RuntimeError("SpawnPool: it was shut down; make a new one.")
            self._calls.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the calls that were submitted end, or cancel those that have not begun, and the workers with them."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                if cancel_futures:
                    self._cancel()
                for _ in self._keepers:
                    self._calls.put(None)
            elif cancel_futures:
                self._cancel()
                for _ in self._keepers:
                    self._calls.put(None)
        if wait:
            for keeper in self._keepers:
                keeper.join()

    def kill(self) -> None:
        """End all workers now: calls that were not answered fail or are cancelled."""
        for keeper in self._keepers:
            keeper.is_stopped.set()
        self.shutdown(wait=False, cancel_futures=True)
        for keeper in self._keepers:
            keeper.kill()
        self.shutdown(wait=True)

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        if exc_type is None:
            self.shutdown(wait=True)
        else:
            self.kill()

    @property
    def processes(self) -> tuple[int, ...]:
        """Ids of the processes that are alive."""
        return tuple(pid for keeper in self._keepers if (pid := keeper.pid) is not None)

    def _cancel(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None and call.future.cancel():
                    call.future.set_running_or_notify_cancel()  # whoever waits hears of it


class _Keeper(threading.Thread):
    """Keeps one worker, a new one whenever it has gone."""

    def __init__(self, calls: queue.SimpleQueue[_Call | None], timeout: float | None) -> None:
        super().__init__(name="SpawnPool", daemon=True)
        self._calls, self._timeout = calls, timeout
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._is_ready = False
        self.is_stopped = threading.Event()

    @property
    def pid(self) -> int | None:
        process = self._process
        with contextlib.suppress(ValueError):  # closed meanwhile
            return process.pid if process is not None and process.is_alive() else None
        return None

    def run(self) -> None:
        try:
            with contextlib.suppress(Exception):  # a worker that cannot start is started again for the first call
                self._start()
            while (call := self._calls.get()) is not None:
                if call.future.set_running_or_notify_cancel():
                    self._make(call)
        finally:
            self._leave()

    def kill(self) -> None:
        """End the process; its keeper sees it go."""
        process = self._process
        with contextlib.suppress(ValueError):  # closed meanwhile
            if process is None or process.pid is None or process.exitcode is not None:
                return
            if hasattr(os, "killpg"):
                with contextlib.suppress(OSError):  # no group of its own yet
                    os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                process.kill()

    def _make(self, call: _Call) -> None:
        """Answer a call, whatever happens."""
        try:
            for attempt in range(1 + RETRIES):
                try:
                    word, answer = self._asked(call.payload)
                except _Gone as gone:
                    reason = str(gone)
                    if attempt < RETRIES and gone.may_help_to_retry and not self.is_stopped.is_set():
                        continue
                    times = f" {attempt + 1} times" if attempt else ""
                    raise WorkerLost(f"its worker {reason}{times}") from None
                value = pickle.loads(answer)
                if word == RETURNED:
                    call.future.set_result(value)
                else:
                    call.future.set_exception(value)
                return
        except BaseException as error:
            call.future.set_exception(error)

    def _asked(self, payload: bytes) -> tuple[bytes, bytes]:
        """The worker's answer."""
        if self._process is None or not self._process.is_alive():
            self._leave()
            self._start()
        if not self._is_ready:
            self._heard(_STARTING, "took too long to start")
            self._is_ready = True
        try:
            self._connection.send_bytes(payload)  # type: ignore[union-attr]
        except OSError:
            raise self._gone() from None
        word = self._heard(_STARTING, "took too long to load what it was sent")
        if word == BEGUN:
            late = f"was stopped after timeout = {self._timeout:g} s" if self._timeout is not None else ""
            word = self._heard(self._timeout, late)
        return word, self._heard(_STARTING, "took too long to send its answer")

    def _heard(self, seconds: float | None, late: str) -> bytes:
        """The next thing the worker says."""
        connection, process = self._connection, self._process
        if connection is None or process is None:
            raise self._gone()
        until = None if seconds is None else time.monotonic() + seconds
        while not connection.poll(0):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0.0:
                self.kill()
                self._leave()
                raise _Gone(late, may_help_to_retry=False)
            if process.sentinel in wait([connection, process.sentinel], left) and not connection.poll(0):
                raise self._gone()
        try:
            return connection.recv_bytes()
        except (EOFError, OSError):
            raise self._gone() from None

    def _start(self) -> None:
        if self.is_stopped.is_set():
            raise _Gone("was stopped with its pool", may_help_to_retry=False)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), name="factorgraph worker", daemon=True)
        self._is_ready = False
        with _environment({**ONE_THREAD, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {XLA_ONE_THREAD}".strip()}):
            process.start()
        theirs.close()
        self._process, self._connection = process, ours

    def _gone(self) -> _Gone:
        """How the worker ended."""
        code, was_ready = None, self._is_ready
        if self._process is not None:
            self._process.join(_LEAVING)
            if self._process.exitcode is None:  # it closed its end, and lives on
                self.kill()
                self._process.join(_LEAVING)
            code = self._process.exitcode
        self._leave()
        if self.is_stopped.is_set():
            return _Gone("was stopped with its pool", may_help_to_retry=False)
        if not was_ready:
            return _Gone(
                f"could not start (exit code {code}; a script has to be guarded by if __name__ == '__main__':)"
            )
        return _Gone(f"died ({_ending(code)})")

    def _leave(self) -> None:
        """End the worker in peace, or else."""
        process, connection = self._process, self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
        if process is not None:
            process.join(_LEAVING)
            self.kill()
            process.join(_LEAVING)
            with contextlib.suppress(ValueError):
                process.close()
        self._process = self._connection = None


class _Gone(Exception):
    """A worker that gives no answer."""

    def __init__(self, message: str, may_help_to_retry: bool = True) -> None:
        super().__init__(message)
        self.may_help_to_retry = may_help_to_retry


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"{name}, perhaps out of memory" if name == "SIGKILL" else name
    return f"exit code {code}"


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Any:
    """With these variables for the processes that are started meanwhile."""
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
