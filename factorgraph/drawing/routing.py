"""Lines between shapes: straight where that is clear, gently bent where a straight line would run through something."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from factorgraph.drawing.boxes import PAD, Block, Frame
from factorgraph.drawing.glyphs import CIRCLE, Glyph
from factorgraph.drawing.scene import Scene

BENDS = (0.0, 0.08, -0.08, 0.16, -0.16, 0.26, -0.26, 0.4, -0.4, 0.55, -0.55)
SLACK = 0.2
_T = np.linspace(0.0, 1.0, 33)
_WEIGHTS = np.stack([(1 - _T) ** 2, 2 * _T * (1 - _T), _T**2], axis=1)

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """One end of a line: where it aims, and the glyph (centred there) whose outline stops it, if any."""

    x: float
    y: float
    key: object
    glyph: Glyph | None = None

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies within the outline of the glyph."""
        if self.glyph is None:
            return False
        dx, dy, w, h = abs(x - self.x), abs(y - self.y), self.glyph.width / 2, self.glyph.height / 2
        if self.glyph.shape == "relation":
            return dx / w + dy / h <= 1.0
        r = CIRCLE / 2 if self.glyph.shape in ("round", "data") else 0.0
        return float(np.hypot(max(dx - (w - r), 0.0), max(dy - (h - r), 0.0))) <= r


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A quadratic Bezier line, `points` (3, 2) in inches; with `arrow` it points at its last point."""

    points: np.ndarray
    arrow: bool
    cost: float

    def sampled(self) -> np.ndarray:
        """Points along the line, (33, 2)."""
        return _WEIGHTS @ self.points


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A rectangle that lines avoid, unless its key is an end of the line; crossing it costs `weight`."""

    rectangle: Rectangle
    keys: frozenset[object]
    weight: float


def curves_of(scene: Scene, glyphs: dict[int, Glyph], block: Block) -> list[Curve]:
    """The lines of a laid-out scene; all lines from one tray to one end are one line."""
    trays = {leaf: f for f in block.frames if f.group.kind == "tray" for leaf in f.group.leaves()}
    pairs: dict[object, tuple[Terminal, Terminal, bool]] = {}
    for edge in scene.edges:
        ends = [
            _terminal(k, o, glyphs, block, trays) for k, o in ((edge.source, edge.target), (edge.target, edge.source))
        ]
        pairs[ends[0].key, ends[1].key, edge.role] = (ends[0], ends[1], edge.role in ("drawn", "data"))
    return route(
        list(pairs.values()), _obstacles(glyphs, block, trays), sides=(-block.left - SLACK, block.right + SLACK)
    )


def _terminal(key: int, other: int, glyphs: dict[int, Glyph], block: Block, trays: dict[int, Frame]) -> Terminal:
    if key not in trays:
        x, y = block.leaves[key]
        return Terminal(x=x, y=y, key=key, glyph=glyphs[key])
    frame, (x, y) = trays[key], block.leaves[other]
    y_side = frame.y0 if y < frame.y0 else frame.y1
    x_side = min(max(x, frame.x0 + PAD), frame.x1 - PAD)
    return Terminal(x=x_side, y=y_side, key=("tray", frame.group.children[0]))


def _obstacles(glyphs: dict[int, Glyph], block: Block, trays: dict[int, Frame]) -> list[Obstacle]:
    obstacles = []
    for key, (x, y) in block.leaves.items():
        shape, *texts = glyphs[key].boxes(x, y)
        if key not in trays:
            x0, y0, x1, y1 = shape
            obstacles.append(
                Obstacle(rectangle=(x0 - 0.03, y0 - 0.03, x1 + 0.03, y1 + 0.03), keys=frozenset([key]), weight=4.0)
            )
            obstacles.extend(Obstacle(rectangle=t, keys=frozenset(), weight=1.0) for t in texts)
    for frame in block.frames:
        members = frozenset(frame.group.leaves())
        box = (frame.x0, frame.y0, frame.x1, frame.y1)
        if frame.group.kind == "tray":
            obstacles.append(Obstacle(rectangle=box, keys=members | {("tray", frame.group.children[0])}, weight=2.0))
        elif frame.group.kind == "plate":
            obstacles.append(Obstacle(rectangle=box, keys=members, weight=0.3))
    return obstacles


def route(
    pairs: Sequence[tuple[Terminal, Terminal, bool]], obstacles: Sequence[Obstacle], *, sides: tuple[float, float]
) -> list[Curve]:
    """One curve for each (start, end, arrow), if possible between the two `sides` (left, right) of the page.

    Several lines between the same two ends fan out.
    """
    boxes = np.array([o.rectangle for o in obstacles], dtype=float).reshape(-1, 4)
    weights = np.array([o.weight for o in obstacles])
    seen: Counter[frozenset[object]] = Counter()
    total = Counter(frozenset((a.key, b.key)) for a, b, _ in pairs)
    curves = []
    for start, end, arrow in pairs:
        pair = frozenset((start.key, end.key))
        side = 1.0 if str(start.key) < str(end.key) else -1.0
        extra = side * 0.22 * (seen[pair] - (total[pair] - 1) / 2)
        seen[pair] += 1
        foreign = np.array([not (o.keys & pair) for o in obstacles], dtype=bool)
        curves.append(_best(start, end, arrow, extra, boxes[foreign], weights[foreign], sides))
    return curves


def _best(
    start: Terminal,
    end: Terminal,
    arrow: bool,
    extra: float,
    boxes: np.ndarray,
    weights: np.ndarray,
    sides: tuple[float, float],
) -> Curve:
    best = None
    for bend in BENDS:
        curve = _bezier(start, end, bend + extra)
        price = 0.3 * abs(bend) + 3.0 * bend**2 + _overshoot(curve, sides)
        cost = float(_touched(curve, boxes) @ weights) + price
        if best is None or cost < best[0]:
            best = (cost, curve)
        if best[0] <= price:
            break
    assert best is not None
    return Curve(points=_clipped(best[1], start, end), arrow=arrow, cost=best[0])


def _overshoot(curve: np.ndarray, sides: tuple[float, float]) -> float:
    """The price of running above or below both ends, or off the sides of the page."""
    (x, y), (low, high) = (_WEIGHTS @ curve).T, sorted((curve[0, 1], curve[2, 1]))
    return 8.0 * float(max(low - y.min(), y.max() - high, 0.0) + max(sides[0] - x.min(), x.max() - sides[1], 0.0))


def _bezier(start: Terminal, end: Terminal, bend: float) -> np.ndarray:
    a, b = np.array([start.x, start.y]), np.array([end.x, end.y])
    across = np.array([a[1] - b[1], b[0] - a[0]])
    return np.stack([a, (a + b) / 2 + 2 * bend * across, b])


def _touched(curve: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which boxes the curve enters, (boxes,) of 0 and 1."""
    x, y = (_WEIGHTS @ curve).T[:, :, None]
    inside = (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])
    return inside.any(axis=0).astype(float)


def _clipped(curve: np.ndarray, start: Terminal, end: Terminal) -> np.ndarray:
    """The part of the curve outside the outlines of its two ends."""

    def point(t: float) -> np.ndarray:
        return (1 - t) ** 2 * curve[0] + 2 * t * (1 - t) * curve[1] + t**2 * curve[2]

    t0 = _exit(lambda t: start.contains(*point(t)))
    t1 = 1.0 - _exit(lambda t: end.contains(*point(1.0 - t)))
    if t1 <= t0:
        return curve
    middle = (1 - t0) * (1 - t1) * curve[0] + (t0 + t1 - 2 * t0 * t1) * curve[1] + t0 * t1 * curve[2]
    return np.stack([point(t0), middle, point(t1)])


def _exit(inside: Callable[[float], bool]) -> float:
    """Where, going from 0 to 1, the line leaves the outline."""
    low, high = 0.0, 1.0
    if not inside(low):
        return 0.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return high


def crossings(curves: Sequence[Curve]) -> int:
    """How many pairs of lines cross, taking every line as straight."""
    if len(curves) < 2:
        return 0
    ends = np.array([[c.points[0], c.points[2]] for c in curves])
    p, r = ends[:, 0], ends[:, 1] - ends[:, 0]
    offset = p[None, :] - p[:, None]
    cross = r[:, None, 0] * r[None, :, 1] - r[:, None, 1] * r[None, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (offset[..., 0] * r[None, :, 1] - offset[..., 1] * r[None, :, 0]) / cross
        u = (offset[..., 0] * r[:, None, 1] - offset[..., 1] * r[:, None, 0]) / cross
    hit = (t > 0.001) & (t < 0.999) & (u > 0.001) & (u < 0.999)
    return int(hit.sum()) // 2
