"""A run in a folder that many processes share, such as the tasks of a SLURM array: no daemon, no open port.

``prepare_run`` says once how the graph is made. Each ``factorgraph worker RUN --shard i/N`` makes it and solves it with
its share of the work; ``graph.optimise(checkpoint=RUN)`` then has the result in a moment.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factorgraph.checkpoint.archive import write_whole
from factorgraph.checkpoint.share import Share
from factorgraph.errors import CheckpointError, UnknownArgument, name_hint
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.propagation.optimise import Settings
from factorgraph.results.result import Result

RUN = "run.json"


def prepare_run(folder: str | Path, graph: str, **settings: Any) -> Path:
    """Write down how the graph of a run is made, for workers.

    Parameters
    ----------
    folder
        The run's folder, made where it does not exist: on a disk that all workers see.
    graph
        ``"path/to/script.py:function"`` or ``"module:function"``; the function takes no arguments and returns the
        `FactorGraphModel`. Whoever can write to the folder can name another one, and workers will call it.
    **settings
        Of `FactorGraphModel.optimise`, and ``block_size``; the same have to be given to it at the end.

    Returns
    -------
    Path
        The folder, absolute.

    Raises
    ------
    CheckpointError
        The function cannot be imported, the folder cannot be written to, or it is the folder of another run.
    """
    allowed = [*Settings.__dataclass_fields__, "block_size"]
    for name, value in settings.items():
        if name not in allowed:
            raise UnknownArgument(f"prepare_run() has no setting {name!r}.{name_hint(name, allowed)}")
        if not isinstance(value, (bool, int, float, str, type(None))):
            raise CheckpointError(
                f"prepare_run: {name} = {value!r} cannot be written down; numbers and names can. Call "
                "optimise(checkpoint=folder) in one process instead."
            )
    Settings(**{name: value for name, value in settings.items() if name != "block_size"})
    source = _absolute(graph)
    _function_of(source)
    path, about = Path(folder).expanduser().resolve(), {"graph": source, "settings": settings}
    try:
        path.mkdir(parents=True, exist_ok=True)
        kept = json.loads((path / RUN).read_text()) if (path / RUN).exists() else about
        if kept != about:
            raise CheckpointError(
                f"prepare_run: {str(path)!r} is the folder of another run ({kept['graph']}, {kept['settings']}; now "
                f"{source}, {settings}). Choose another folder, or delete this one."
            )
        write_whole(path / RUN, json.dumps(about, indent=1).encode())
    except OSError as error:
        raise CheckpointError(
            f"prepare_run: {str(path)!r} cannot be written to ({error.strerror or error}). Choose another folder."
        ) from error
    return path


def work(folder: str | Path, number: int = 0, of: int = 1, *, patience: float = 300.0) -> Result:
    """Solve the run in ``folder`` with share ``number`` of ``of``, counted from zero; see `Share`.

    Raises
    ------
    CheckpointError
        There is no run in the folder, its graph cannot be made, or this share is being worked on.
    """
    path = Path(folder).expanduser().resolve()
    share = Share(path, number, of, patience)
    try:
        about = json.loads((path / RUN).read_text())
        source, settings = str(about["graph"]), dict(about["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"worker: {str(path)!r} holds no run ({error}). Write one with "
            "factorgraph.prepare_run(folder, 'script.py:function')."
        ) from error
    graph = _function_of(source)()
    if not isinstance(graph, FactorGraphModel):
        raise CheckpointError(
            f"worker: {source} returned {type(graph).__name__}; it has to return the FactorGraphModel."
        )
    return graph.optimise(checkpoint=share, **settings)


def _absolute(graph: str) -> str:
    """``graph`` with the absolute path of a script."""
    where, colon, name = graph.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise CheckpointError(
            f"prepare_run: graph = {graph!r}; say which function makes it, as 'path/to/script.py:function' or "
            "'module:function'."
        )
    return f"{Path(where).expanduser().resolve()}:{name}" if where.endswith(".py") else graph


def _function_of(source: str) -> Callable[[], Any]:
    where, _, name = source.rpartition(":")
    try:
        module = _script(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except (OSError, ImportError) as error:
        raise CheckpointError(f"run: {where} cannot be imported: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise CheckpointError(f"run: {where} has no function {name!r}.{name_hint(name, defined)}")
    return function


def _script(path: Path) -> Any:
    """A script as a module of its name, as ``import`` from its own folder would find it; its ``__main__`` part is not
    run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
