"""Ink: a laid-out page drawn with matplotlib, as vector PDF and SVG or as PNG.

Only artists on a figure of its own: pyplot is never imported, and rc settings hold only while a file is written.
Colours are of the Okabe-Ito set; every meaning has a shape as well, so that grey prints say the same.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph.drawing.glyphs import CIRCLE, FONT, GAP, SINK, SIZES, SQUARE, STEM, Glyph
from factorgraph.drawing.layout import Frame, Page, layout
from factorgraph.drawing.scene import collapse
from factorgraph.drawing.typesetting import literal
from factorgraph.errors import GraphError

if TYPE_CHECKING:
    import networkx
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg", ".png")
INK, LINE, PLATE = "#000000", "#4d4d4d", "#7f7f7f"
FILL = {"round": "#ffffff", "data": "#c8c8c8", "factor": "#000000", "parent": "#0072b2", "relation": "#fbe5b8"}
HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
TITLE_SIZE, TITLE_SPACE = 11.0, 0.1
_RC = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "factorgraph",
    "text.usetex": False,
    "savefig.bbox": None,
    "savefig.transparent": False,
}


def draw(
    g: "networkx.Graph",
    path: str | Path,
    *,
    width: float | None = None,
    title: str | None = None,
    dpi: float = 200,
    expand: bool = False,
    priors: bool = False,
) -> Path:
    """Draw a factor graph in plate notation and write it to `path`.

    Circles are variables, grey circles data, black squares likelihoods, blue squares parents (hierarchical factors),
    diamonds relations; a box is repeated N times. An arrow points at what a factor generates.

    Parameters
    ----------
    g
        The bipartite graph; attributes in `factorgraph.drawing.scene`.
    path
        File ending in ``.pdf``, ``.svg`` or ``.png``.
    width
        Width in inches (3.4 is one column of a journal, 7.1 two); without it, what the drawing needs.
    title
        Plain text above the drawing.
    dpi
        Dots an inch of a PNG.
    expand
        Draw every replicate (at most 60) instead of plates.
    priors
        Show the prior of every variable that has one of its own.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    GraphError
        For another suffix, or a graph that `collapse` cannot read.
    """
    import matplotlib

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise GraphError(f"cannot draw to {path.name!r}; end the name in one of {', '.join(SUFFIXES)}")
    page = layout(collapse(g, expand=expand), width=width, priors=priors)
    with matplotlib.rc_context(_RC):
        picture = figure(page, title=title)
        metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix.lower())
        picture.savefig(path, format=path.suffix[1:].lower(), dpi=dpi, facecolor="white", metadata=metadata)
    return path


def figure(page: Page, *, title: str | None = None) -> "Figure":
    """The matplotlib figure of a page; its size is the page's, plus a line for the title."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    head = TITLE_SIZE / 72 + TITLE_SPACE if title else 0.0
    picture = Figure(figsize=(page.width, page.height + head))
    inches = Affine2D().scale(page.scale) + picture.dpi_scale_trans
    for frame in page.frames:
        _draw_frame(picture, frame, page.scale, inches)
    for curve in page.curves:
        _draw_curve(picture, curve.points, curve.arrow, page.scale, inches)
    for key, (x, y) in page.places.items():
        _draw_glyph(picture, page.glyphs[key], x, y, page.scale, inches)
    if title:
        _draw_title(picture, title, page)
    return picture


def _draw_title(picture: "Figure", title: str, page: Page) -> None:
    text = picture.text(
        page.width / 2,
        page.height + TITLE_SPACE / 3,
        literal(title),
        fontsize=TITLE_SIZE,
        ha="center",
        va="bottom",
        transform=picture.dpi_scale_trans,
        **FONT,
    )
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    wide = text.get_window_extent(FigureCanvasAgg(picture).get_renderer()).width / picture.dpi
    text.set_fontsize(TITLE_SIZE * min(1.0, page.width / max(wide, 1e-9)))


def _text(picture: "Figure", x: float, y: float, text: str, size: float, inches: Any, **how: Any) -> None:
    how = {"ha": "center", "va": "center_baseline" if "\n" not in text else "center", "color": INK} | how
    picture.text(x, y, text, fontsize=size, transform=inches, zorder=4, usetex=False, **how, **FONT)


def _draw_frame(picture: "Figure", frame: Frame, scale: float, inches: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    if frame.group.kind not in ("plate", "tray"):
        return
    plate = frame.group.kind == "plate"
    picture.add_artist(
        FancyBboxPatch(
            (frame.x0, frame.y0),
            frame.x1 - frame.x0,
            frame.y1 - frame.y0,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="none" if plate else "#f2f2f2",
            edgecolor=PLATE if plate else "#bfbfbf",
            linewidth=scale * (1.0 if plate else 0.6),
            transform=inches,
            zorder=1,
        )
    )
    label, count = frame.group.captions
    size = scale * SIZES["side"]
    if label:
        _text(picture, frame.x0 + 0.06, frame.y0 + 0.05, label, size, inches, ha="left", va="baseline", color=LINE)
    if count:
        _text(picture, frame.x1 - 0.06, frame.y0 + 0.05, count, size, inches, ha="right", va="baseline")


def _draw_curve(picture: "Figure", points: np.ndarray, arrow: bool, scale: float, inches: Any) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    picture.add_artist(
        FancyArrowPatch(
            path=Outline(points, [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3]),
            arrowstyle="-|>,head_length=0.45,head_width=0.2" if arrow else "-",
            mutation_scale=scale * 10,
            linewidth=scale * 0.8,
            color=LINE,
            shrinkA=0,
            shrinkB=0,
            transform=inches,
            zorder=2,
        )
    )


def _draw_glyph(picture: "Figure", glyph: Glyph, x: float, y: float, scale: float, inches: Any) -> None:
    if glyph.prior:
        _draw_prior(picture, glyph, x, y, scale, inches)
    picture.add_artist(_shape(glyph, x, y, scale, inches))
    size = scale * glyph.text_size
    if not glyph.beside:
        _text(picture, x, y, glyph.text, size, inches)
    elif glyph.text:
        _text(picture, x + glyph.width / 2 + GAP, y - SINK, glyph.text, size, inches, ha="left", bbox=HALO)


def _shape(glyph: Glyph, x: float, y: float, scale: float, inches: Any) -> Any:
    from matplotlib.patches import PathPatch, Polygon, Rectangle

    w, h = glyph.width / 2, glyph.height / 2
    how = {
        "facecolor": FILL[glyph.shape],
        "edgecolor": INK,
        "linewidth": scale * 0.9,
        "transform": inches,
        "zorder": 3,
    }
    if glyph.shape == "relation":
        return Polygon([(x - w, y), (x, y + h), (x + w, y), (x, y - h)], **how)
    if glyph.shape in ("round", "data"):
        return PathPatch(_pill(x, y, w, h), **how)
    return Rectangle((x - w, y - h), 2 * w, 2 * h, **how)


def _pill(x: float, y: float, w: float, h: float) -> Any:
    """A circle, or a rectangle with corners of the circle's radius (matplotlib's own rounding is not circular)."""
    from matplotlib.path import Path as Outline

    r = CIRCLE / 2
    corners = [(w - r, h - r), (r - w, h - r), (r - w, r - h), (w - r, r - h)]
    arcs = [Outline.arc(90 * k, 90 * k + 90) for k in range(4)]
    vertices = [arc.vertices * r + corner + (x, y) for arc, corner in zip(arcs, corners, strict=True)]
    codes = [np.where(arc.codes == Outline.MOVETO, Outline.LINETO, arc.codes) for arc in arcs]
    codes[0][0] = Outline.MOVETO
    end = np.array([Outline.CLOSEPOLY], dtype=codes[0].dtype)
    return Outline(np.concatenate([*vertices, vertices[0][:1]]), np.concatenate([*codes, end]))


def _draw_prior(picture: "Figure", glyph: Glyph, x: float, y: float, scale: float, inches: Any) -> None:
    from matplotlib.patches import Rectangle

    foot = y + glyph.height / 2
    _draw_curve(picture, np.array([[x, foot + STEM], [x, foot + STEM / 2], [x, foot]]), False, scale, inches)
    side = 0.75 * SQUARE
    picture.add_artist(
        Rectangle((x - side / 2, foot + STEM), side, side, facecolor=INK, linewidth=0, transform=inches, zorder=3)
    )
    _text(picture, x, foot + STEM + SQUARE, glyph.prior, scale * SIZES["prior"], inches, va="bottom", color=LINE)
