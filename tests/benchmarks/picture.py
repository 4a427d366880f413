"""The rows as a picture: CPU seconds, and errors, against the number of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.benchmarks.row import METHODS

COLORS = {"ep": "#0072b2", "numpyro": "#d55e00", "blackjax": "#e69f00", "dynesty": "#009e73", "autofit": "#cc79a7"}
MARKERS = {"ep": "o", "numpyro": "s", "blackjax": "D", "dynesty": "^", "autofit": "v"}
SMALLEST = 1e-4  # error that is told from none


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    seconds, errors = figure.subplots(1, 2)
    for name, method in METHODS.items():
        _draw_seconds(seconds, name, method.title, [found for found in rows if found["method"] == name])
        _draw_errors(errors, name, [found for found in rows if found["method"] == name and "shift" in found])
    _draw_proportion(seconds, rows)
    for axis in (seconds, errors):
        axis.set(xscale="log", yscale="log")
        axis.set_xlabel("datasets N", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    seconds.set_title("CPU seconds, compilation apart", fontsize=8)
    errors.set_title("error of mu and tau, exact sds (open: of their sds)", fontsize=8)
    seconds.legend(fontsize=6.5, frameon=False)
    path.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "factorgraph"}):
        figure.savefig(path, metadata={"Date": None})


def _draw_seconds(axis: Axes, name: str, title: str, rows: list[dict[str, Any]]) -> None:
    style = {"color": COLORS[name], "marker": MARKERS[name], "ms": 4, "lw": 1.2}
    ended = [found for found in rows if "seconds" in found]
    if ended:
        label = f"{title}, 1,000 effective draws" if ended[0]["effective"] else title
        axis.plot([found["n"] for found in ended], [found["seconds"] for found in ended], label=label, **style)
    for found in rows:
        if "unfinished" in found:
            place = (found["n"], found["unfinished"])
            axis.plot(*place, mfc="none", color=style["color"], marker=style["marker"], ms=4)
            axis.annotate("unfinished", place, xytext=(4, 3), textcoords="offset points", fontsize=6)


def _draw_errors(axis: Axes, name: str, rows: list[dict[str, Any]]) -> None:
    """The larger of mu's and tau's: filled of the mean, open of the standard deviation."""
    if not rows:
        return
    numbers = [found["n"] for found in rows]
    shift = [max(*(abs(value) for value in found["shift"].values()), SMALLEST) for found in rows]
    spread = [max(*(abs(value - 1.0) for value in found["spread"].values()), SMALLEST) for found in rows]
    style = {"color": COLORS[name], "marker": MARKERS[name], "ms": 4, "lw": 1.0}
    axis.plot(numbers, shift, **style)
    axis.plot(numbers, spread, ls=":", mfc="none", **style)


def _draw_proportion(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """A line of slope one through the largest of ours."""
    ours = [found for found in rows if found["method"] == "ep"]
    if len(ours) > 1:
        last = max(ours, key=lambda found: found["n"])
        ends = [last["n"] / 100, last["n"]]
        values = [last["seconds"] / 100, last["seconds"]]
        axis.plot(ends, values, color="#999999", lw=0.8, ls="--", label="proportional to N", zorder=0)
