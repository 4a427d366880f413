"""The shape and the size on paper of every node, from the true extents of its text.

Lengths are inches, the origin of a glyph is the centre of its shape, y points up.
"""

from dataclasses import dataclass

from factorgraph.drawing.scene import SceneNode
from factorgraph.drawing.typesetting import family_name, literal, mathtext, operator_sign, printable, wrapped
from factorgraph.errors import GraphError

FONT = {"family": "STIXGeneral", "math_fontfamily": "stix"}
SIZES = {"symbol": 11.0, "name": 9.0, "side": 8.5, "prior": 7.5}
CIRCLE, SQUARE, DIAMOND, GAP, STEM = 0.33, 0.11, 0.26, 0.05, 0.13
SINK = 0.05  # text beside a square hangs a little low, out of the way of lines that arrive from above
NAME_COLUMNS, SIDE_COLUMNS = 18, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyph:
    """A shape with its text; `left`, `right`, `up`, `down` are the extents of everything about its centre."""

    shape: str
    width: float
    height: float
    text: str
    text_size: float
    beside: bool = False
    prior: str = ""
    text_width: float = 0.0
    text_height: float = 0.0
    prior_width: float = 0.0
    prior_height: float = 0.0

    @property
    def left(self) -> float:
        return max(self.width, self.prior_width) / 2

    @property
    def right(self) -> float:
        return max(self.left, self.width / 2 + GAP + self.text_width if self.beside else 0.0)

    @property
    def up(self) -> float:
        stem = STEM + SQUARE + 0.02 + self.prior_height if self.prior else 0.0
        return max(self.height / 2 + stem, self.text_height / 2)

    @property
    def down(self) -> float:
        return max(self.height / 2, self.text_height / 2 + SINK if self.beside else 0.0)

    def boxes(self, x: float, y: float) -> list[tuple[float, float, float, float]]:
        """What lines should keep out of, as (x0, y0, x1, y1): the shape first, then its texts."""
        w, h = self.width / 2, self.height / 2
        boxes = [(x - w, y - h, x + w, y + h)]
        if self.beside:
            start, half = x + w + GAP, self.text_height / 2
            boxes.append((start, y - SINK - half, start + self.text_width, y - SINK + half))
        if self.prior:
            boxes.append((x - self.prior_width / 2, y + h, x + self.prior_width / 2, y + self.up))
        return boxes


class TextRuler:
    """Measures text on a figure of its own; no global matplotlib state is touched."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure = Figure(dpi=200)
        self._renderer = FigureCanvasAgg(self._figure).get_renderer()
        self._known: dict[tuple[str, float], tuple[float, float]] = {}

    def __call__(self, text: str, size: float) -> tuple[float, float]:
        """Width and height of `text` in inches; ValueError for mathematics that mathtext does not know."""
        if (text, size) not in self._known:
            artist = self._figure.text(0.0, 0.0, text, fontsize=size, usetex=False, **FONT)
            box = artist.get_window_extent(self._renderer)
            artist.remove()
            self._known[text, size] = box.width / 200, box.height / 200
        return self._known[text, size]


def glyph_of(node: SceneNode, ruler: TextRuler, *, priors: bool = False) -> Glyph:
    """The glyph of a scene node; `priors` adds its prior above a variable.

    Raises
    ------
    GraphError
        When mathtext cannot typeset the node's own LaTeX.
    """
    try:
        if node.kind in ("variable", "data"):
            return _round(node, ruler, priors)
        return _diamond(node, ruler) if node.kind == "relation" else _square(node, ruler)
    except ValueError as error:
        raise GraphError(
            f"the LaTeX {node.latex!r} of {node.label!r} cannot be typeset by matplotlib's mathtext; write it with "
            f"mathtext's commands, or give none and the name is typeset ({str(error).splitlines()[-1]})"
        ) from error


def _round(node: SceneNode, ruler: TextRuler, priors: bool) -> Glyph:
    text = _name_text(node)
    size = SIZES["symbol"] if ruler(text, SIZES["symbol"])[0] < CIRCLE - 0.05 else SIZES["name"]
    width, height = ruler(text, size)
    tall = max(CIRCLE, height + 0.12)
    wide = CIRCLE if width < CIRCLE - 0.05 and tall == CIRCLE else max(tall, width + 0.2)
    prior = _side_text(family_name(node.prior)) if priors else ""
    prior_extent = ruler(prior, SIZES["prior"]) if prior else (0.0, 0.0)
    return Glyph(
        shape="data" if node.kind == "data" else "round",
        width=wide,
        height=tall,
        text=text,
        text_size=size,
        prior=prior,
        prior_width=prior_extent[0],
        prior_height=prior_extent[1],
    )


def _name_text(node: SceneNode) -> str:
    label = printable(node.label)
    if node.kind == "data" and not node.index and len(label) <= NAME_COLUMNS:
        return literal(label)  # a dataset's own name is a name, not mathematics
    if node.latex is not None or len(label) <= NAME_COLUMNS:
        return mathtext(label, latex=node.latex, index=node.index)
    *first, last = wrapped(label, NAME_COLUMNS)
    return "\n".join([*map(literal, first), literal(last) + (f"$_{{{node.index}}}$" if node.index else "")])


def _side_text(text: str) -> str:
    return "\n".join(literal(line) for line in wrapped(printable(text), SIDE_COLUMNS))


def _square(node: SceneNode, ruler: TextRuler) -> Glyph:
    shape = "parent" if node.factor_kind == "hierarchical" else "factor"
    return _beside(shape, SQUARE, _side_text(family_name(node.detail or node.label)), ruler)


def _diamond(node: SceneNode, ruler: TextRuler) -> Glyph:
    sign = operator_sign(node.detail or node.label)
    if len(sign) > 1:
        return _beside("relation", DIAMOND * 0.6, _side_text(sign), ruler)
    return Glyph(shape="relation", width=DIAMOND, height=DIAMOND, text=literal(sign), text_size=SIZES["name"])


def _beside(shape: str, side: float, text: str, ruler: TextRuler) -> Glyph:
    width, height = ruler(text, SIZES["side"]) if text else (0.0, 0.0)
    return Glyph(
        shape=shape,
        width=side,
        height=side,
        text=text,
        text_size=SIZES["side"],
        beside=True,
        text_width=width,
        text_height=height,
    )
