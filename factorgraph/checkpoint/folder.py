"""A folder that a run keeps its pieces in, from its opening to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factorgraph.checkpoint.archive import write_whole
from factorgraph.checkpoint.journal import Journal
from factorgraph.checkpoint.lock import Lock, is_held
from factorgraph.checkpoint.manifest import differences
from factorgraph.checkpoint.share import Share
from factorgraph.checkpoint.store import Store
from factorgraph.errors import CheckpointError

MANIFEST, LOCK = "manifest.json", "run.lock"


@contextmanager
def opened(where: str | Path | Share, manifest: Mapping[str, Any], classes: Sequence[type]) -> Iterator[Journal]:
    """The journal of the run in a folder, which nobody else can open until it is closed; or only those with another
    share of it.

    Raises
    ------
    CheckpointError
        The folder cannot be written to, is in use, or belongs to a run with another manifest.
    """
    share = where if isinstance(where, Share) else None
    path = where.folder if isinstance(where, Share) else Path(where).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = Lock(path / (LOCK if share is None else share.lock))
        held.acquire()
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _check(path, manifest)
        if share is None and not any(map(is_held, path.glob("shard-*.lock"))):
            for left in path.glob(".*.part"):  # by a process that was killed
                left.unlink(missing_ok=True)
        store = Store(path, classes)
        try:
            yield Journal(store, share=share)
        finally:
            store.close()
    finally:
        held.release()


def _check(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest into a new folder; in an old one compare it."""
    place = path / MANIFEST
    try:
        if not place.exists():
            write_whole(place, json.dumps(manifest, indent=1).encode())
            return
        kept = json.loads(place.read_text())
        found = differences(kept, json.loads(json.dumps(manifest)))
        probe = path / ".writable.part"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise _unusable(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint {str(path)!r}: {MANIFEST} is damaged ({error}), so that nobody can tell what run is kept "
            "there. Delete the folder, or give this run another one."
        ) from error
    if found:
        raise CheckpointError(
            f"checkpoint {str(path)!r} belongs to another run. Different are " + "; ".join(found) + ". Give this run "
            "another folder, or delete this one to start afresh."
        )


def _unusable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {str(path)!r}: it cannot be written to ({error.strerror or error}). Choose a folder in which "
        "this process may create files, on a disk with room."
    )
