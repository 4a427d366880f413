"""Reading the example data (the name is that of the public API)."""

from __future__ import annotations

import json
import os

import numpy as np

from factorgraph.errors import FactorGraphError


def numpy_array_from_json(file_path: str | os.PathLike[str]) -> np.ndarray:
    """The numbers of a JSON file with one (nested) list, as a float array.

    Raises
    ------
    FactorGraphError
        The file holds something else; a missing file raises as `open` does.
    """
    with open(file_path, encoding="utf-8") as file:
        content = json.load(file)
    if not isinstance(content, list):
        raise FactorGraphError(
            f"{file_path}: holds a {type(content).__name__}; it must be one (nested) list of numbers."
        )
    try:
        return np.asarray(content, dtype=float)
    except (TypeError, ValueError) as error:
        raise FactorGraphError(f"{file_path}: the list is not a regular array of numbers.") from error
