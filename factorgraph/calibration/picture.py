"""The picture of a calibration: each quantity's rank ECDF less the uniform one, within its simultaneous band."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from factorgraph.errors import GraphError

if TYPE_CHECKING:
    from factorgraph.calibration.calibration import Calibration

SUFFIXES = (".pdf", ".svg", ".png")
_BAND, _CALIBRATED, _OUTSIDE = "#d9d9d9", "#0072b2", "#d55e00"
_MOST_COLUMNS, _WIDTH, _HEIGHT = 3, 2.6, 2.0  # panels in a row; inches
_MOST_PANELS = 30


def draw_ecdf(calibration: Calibration, path: str | Path) -> Path:
    """Write one panel a quantity, at most 30; see `Calibration.plot`.

    Above zero everywhere, truths are smaller than the posteriors say; above it at small ranks and below it at large
    ones, the posteriors are too narrow; the other way round, too wide.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise GraphError(f"plot({str(path)!r}): the name must end in {', '.join(SUFFIXES)}.")
    shown = calibration.quantities[:_MOST_PANELS]
    columns = min(len(shown), _MOST_COLUMNS)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    FigureCanvasAgg(figure)
    lower, upper = calibration.bounds.band(calibration.num_draws + 1)
    num = calibration.bounds.num_simulations
    fraction = np.arange(1, calibration.num_draws + 1) / (calibration.num_draws + 1)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, quantity in zip(axes, shown):
        difference = quantity.ecdf_counts / num - fraction
        color = _OUTSIDE if quantity.num_outside(calibration.bounds) else _CALIBRATED
        axis.fill_between(fraction, lower / num - fraction, upper / num - fraction, color=_BAND, step="mid", lw=0)
        axis.step(fraction, difference, where="mid", color=color, lw=1.2)
        axis.set_title(quantity.name, fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("rank of the truth, as a fraction", fontsize=8)
    figure.supylabel("ECDF less uniform", fontsize=8)
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "factorgraph"}):
        figure.savefig(path, dpi=200)
    return path
