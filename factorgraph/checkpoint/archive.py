"""A file of results: trees of arrays under keys, with checksums, written at once or not at all, read without pickle.

::

    8 bytes   the magic number
    8 bytes   length of the header, little endian
    32 bytes  SHA-256 of the header
    header    JSON: for each entry its key, its tree, where its bytes are, and their SHA-256
    payload   the bytes of all arrays
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC = b"fg\x00keep1"
_KINDS = "biufc"
_MOST_HEADER = 2**31


class DamagedFile(Exception):
    """A file is not what was written: cut short, or with other bytes."""


class Entry(NamedTuple):
    """A tree of arrays as bytes: ``tree`` is JSON, ``data`` the arrays one after the other."""

    key: str
    tree: Any
    data: bytes


class Place(NamedTuple):
    """Where an entry lies."""

    path: Path
    tree: Any
    offset: int
    size: int
    checksum: str


# --- trees ---


def packed(key: str, tree: Any) -> Entry:
    """A tree of arrays, numbers, strings and None in tuples, lists and named tuples.

    Raises
    ------
    TypeError
        Anything else.
    """
    parts: list[bytes] = []
    return Entry(key, _packed(tree, parts), b"".join(parts))


def _packed(tree: Any, parts: list[bytes]) -> Any:
    if tree is None or isinstance(tree, (bool, int, float, str)) and not isinstance(tree, np.generic):
        return {"is": tree.hex() if isinstance(tree, float) else tree, "float": isinstance(tree, float)}
    if isinstance(tree, (tuple, list)):
        kind = type(tree).__name__ if hasattr(tree, "_fields") or isinstance(tree, list) else "tuple"
        return {"of": kind, "parts": [_packed(part, parts) for part in tree]}
    if not hasattr(tree, "__array__"):
        raise TypeError(f"a {type(tree).__name__} cannot be kept")
    array = np.asarray(tree)
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {array.dtype} cannot be kept")
    parts.append(array.tobytes())
    return {"array": array.dtype.str, "shape": array.shape, "scalar": isinstance(tree, np.generic)}


def unpacked(tree: Any, data: bytearray, classes: Mapping[str, type]) -> Any:
    """The tree of an entry; its arrays are the caller's own, and can be written to.

    Parameters
    ----------
    classes
        The named tuples that may occur, by name.

    Raises
    ------
    DamagedFile
        Bytes and tree do not belong together.
    """
    try:
        found, end = _unpacked(tree, data, 0, classes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFile(f"{type(error).__name__}: {error}") from error
    if end != len(data):
        raise DamagedFile("there are more bytes than arrays")
    return found


def _unpacked(tree: Any, data: bytearray, at: int, classes: Mapping[str, type]) -> tuple[Any, int]:
    if "is" in tree:
        return float.fromhex(tree["is"]) if tree["float"] else tree["is"], at
    if "of" in tree:
        parts = []
        for part in tree["parts"]:
            value, at = _unpacked(part, data, at, classes)
            parts.append(value)
        kind = tree["of"]
        if kind in ("tuple", "list"):
            return (tuple(parts) if kind == "tuple" else parts), at
        return classes[kind](*parts), at
    dtype, shape = np.dtype(tree["array"]), tuple(tree["shape"])
    if dtype.kind not in _KINDS:
        raise DamagedFile(f"an array of {dtype}")
    size = int(np.prod(shape, dtype=int))
    array = np.frombuffer(data, dtype, size, at).reshape(shape) if size else np.zeros(shape, dtype)
    return array[()] if tree["scalar"] else array.copy(), at + size * dtype.itemsize


# --- files ---


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write a file of ``entries`` so that it is there whole or not at all, also when the machine stops.

    Raises
    ------
    OSError
        The disk is full, the folder is gone or may not be written to; nothing is left behind.
    """
    listed, offset = [], 0
    for entry in entries:
        checksum = hashlib.sha256(entry.data).hexdigest()
        listed.append({"key": entry.key, "tree": entry.tree, "at": offset, "size": len(entry.data), "sha256": checksum})
        offset += len(entry.data)
    header = json.dumps(listed, separators=(",", ":")).encode()
    start = MAGIC + len(header).to_bytes(8, "little") + hashlib.sha256(header).digest()
    write_whole(path, start, header, *(entry.data for entry in entries))


def write_whole(path: Path, *parts: bytes) -> None:
    """Write ``parts`` to a file of another name, and give it its own name once it is on the disk."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name last; not every system and file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)


def places_in(path: Path) -> list[tuple[str, Place]]:
    """Keys and places of the entries of a file.

    Raises
    ------
    DamagedFile
        The header, or the length of the file, is not what was written.
    """
    with open(path, "rb") as file:
        start = file.read(48)
        length = int.from_bytes(start[8:16], "little")
        if len(start) < 48 or start[:8] != MAGIC or length > _MOST_HEADER:
            raise DamagedFile("it does not begin like one")
        header = file.read(length)
        if hashlib.sha256(header).digest() != start[16:48]:
            raise DamagedFile("the checksum of its header is wrong")
        size = file.seek(0, os.SEEK_END)
    listed, first = json.loads(header), 48 + length
    if size != first + sum(entry["size"] for entry in listed):
        raise DamagedFile(f"it is {size} bytes long")
    return [
        (entry["key"], Place(path, entry["tree"], first + entry["at"], entry["size"], entry["sha256"]))
        for entry in listed
    ]


def read(place: Place) -> bytearray:
    """The bytes of an entry.

    Raises
    ------
    DamagedFile
        They are not those that were written.
    OSError
        The file is gone.
    """
    data = bytearray(place.size)
    with open(place.path, "rb") as file:
        file.seek(place.offset)
        if file.readinto(data) != place.size or hashlib.sha256(data).hexdigest() != place.checksum:
            raise DamagedFile("a checksum is wrong")
    return data
