"""Where everything goes: nested boxes laid out in layers from hyper-parameters down to data.

Boxes (`factorgraph.drawing.boxes`) are laid out inside out; rows wider than the page are wrapped. Many variables with
the same neighbours go on a tray: a grid with one line for all. Lengths are inches, y points up.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from factorgraph.drawing.boxes import PAD, Block, Frame, Group, components
from factorgraph.drawing.glyphs import SIZES, Glyph, TextRuler, glyph_of
from factorgraph.drawing.layers import Item, Link, positions, ranks
from factorgraph.drawing.routing import Curve, crossings, curves_of
from factorgraph.drawing.scene import Scene, SceneEdge, SceneNode

PAGE_WIDTH, MARGIN, CAPTION = 7.1, 0.06, 0.17
COLUMN_GAP, ROW_GAP, MAX_ROW_GAP, FAN_SLOPE = 0.13, 0.24, 0.7, 0.22
TRAY_GAP, LANE_WEIGHT, TRAY_COUNT, MIN_TRAY, MIN_SHARE, PASSES, MANY = 0.08, 3, 12, 1.5, 1.0, 6, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The finished drawing: `width` by `height` inches; what is in it is drawn at `scale` from its lower left."""

    width: float
    height: float
    scale: float
    nodes: dict[int, SceneNode]
    glyphs: dict[int, Glyph]
    places: dict[int, tuple[float, float]]
    frames: tuple[Frame, ...]
    curves: tuple[Curve, ...]


@dataclass(slots=True)
class _Sheet:
    """What the recursion reads: sizes, lines, and the abscissae of the pass before."""

    scene: Scene
    glyphs: dict[int, Glyph]
    ruler: TextRuler
    neighbours: dict[int, list[int]]
    hints: dict[Item, float] = field(default_factory=dict)
    sided: bool = False


def layout(scene: Scene, *, width: float | None = None, priors: bool = False) -> Page:
    """Place a scene on a page.

    Parameters
    ----------
    scene
        From `collapse`.
    width
        Width of the page in inches; what does not fit after wrapping is scaled down. Without it the page is as wide as
        the drawing, at most 7.1 where wrapping can do it.
    priors
        Show above each variable the prior it has of its own.
    """
    ruler = TextRuler()
    glyphs = {n.key: glyph_of(n, ruler, priors=priors) for n in scene.nodes}
    neighbours: dict[int, list[int]] = {n.key: [] for n in scene.nodes}
    for edge in scene.edges:
        neighbours[edge.source].append(edge.target)
        neighbours[edge.target].append(edge.source)
    sheet = _Sheet(scene, glyphs, ruler, neighbours)
    root = Group("root", components(scene))
    best: tuple[float, Block, list[Curve]] | None = None
    for _ in range(PASSES if len(scene.nodes) <= MANY else 2):
        block = _place(root, (width or PAGE_WIDTH) - 2 * MARGIN, sheet)
        curves = curves_of(scene, glyphs, block)
        length = sum(float(abs(c.points[2] - c.points[0]).sum()) for c in curves)
        cost = crossings(curves) + 4 * sum(c.cost for c in curves) + 0.01 * length
        if best is None or cost < best[0] - 1e-9:
            best = (cost, block, curves)
        sheet.sided = not sheet.sided
        sheet.hints = {k: x for k, (x, _) in block.leaves.items()} | {f.group: f.x for f in block.frames}
    assert best is not None
    return _page(scene, glyphs, best[1], best[2], width)


def _page(scene: Scene, glyphs: dict[int, Glyph], block: Block, curves: list[Curve], width: float | None) -> Page:
    reach = np.concatenate([np.zeros((1, 2)), *(c.sampled() for c in curves)])
    left, right = max(block.left, -reach[:, 0].min()) + MARGIN, max(block.right, reach[:, 0].max()) + MARGIN
    up, down = max(block.up, reach[:, 1].max()) + MARGIN, max(block.down, -reach[:, 1].min()) + MARGIN
    scale = 1.0 if width is None else min(1.0, width / (left + right))
    page_width = width or left + right
    dx = left + (page_width / scale - left - right) / 2
    dy = down
    return Page(
        width=page_width,
        height=scale * (up + down),
        scale=scale,
        nodes={n.key: n for n in scene.nodes},
        glyphs=glyphs,
        places={k: (x + dx, y + dy) for k, (x, y) in block.leaves.items()},
        frames=tuple(f.moved(dx, dy) for f in block.frames),
        curves=tuple(replace(c, points=c.points + np.array([dx, dy])) for c in curves),
    )


def _with_trays(children: Sequence[Item], available: float, sheet: _Sheet) -> list[Item]:
    """Children, with variables that have the same neighbours put on a tray where they are too many for one row."""
    alike: dict[object, list[int]] = defaultdict(list)
    for child in children:
        if isinstance(child, int) and sheet.scene.nodes[child].kind == "variable" and sheet.neighbours[child]:
            alike[frozenset(sheet.neighbours[child])].append(child)
    trays = []
    for keys in alike.values():
        needed = sum(sheet.glyphs[k].left + sheet.glyphs[k].right + COLUMN_GAP for k in keys)
        if len(keys) > TRAY_COUNT or (len(keys) > 2 and needed > available):
            trays.append(Group("tray", tuple(keys)))
    taken = {k for tray in trays for k in tray.children}
    return [*trays, *(c for c in children if c not in taken)]


def _place(item: Item, available: float, sheet: _Sheet) -> Block:
    if isinstance(item, int):
        glyph = sheet.glyphs[item]
        return Block(glyph.left, glyph.right, glyph.up, glyph.down, {item: (0.0, 0.0)})
    assert isinstance(item, Group)
    if item.kind == "tray":
        return _tray(item, available, sheet)
    inner = available - (2 * PAD if item.kind == "plate" else 0.0)
    items = _with_trays(item.children, inner, sheet)
    owner = {leaf: i for i in items for leaf in _leaves(i)}
    arcs = [(owner[e.source], owner[e.target]) for e in sheet.scene.edges if e.source in owner and e.target in owner]
    rank = ranks(items, arcs, last=[i for i in items if isinstance(i, Group) and i.kind != "tray"])
    blocks: dict[Item, Block] = {}
    rows: list[list[Item]] = []
    for level in sorted(set(rank.values())):
        row = [i for i in items if rank[i] == level]
        blocks.update(_fitted(row, inner, sheet))
        rows.extend(_wrapped(row, blocks, inner))
    links = [_link(owner, blocks, e.source, e.target) for e in sheet.scene.edges if _inner_edge(owner, e)]
    pulls = _pulls(item, owner, blocks, sheet)
    rows, links = _with_lanes(rows, links, _entered(owner, sheet), pulls, blocks, sided=sheet.sided)
    extents = {i: (b.left, b.right) for i, b in blocks.items()}
    x = positions(rows, extents, links, pulls, stiff=set(blocks) - set(items), gap=COLUMN_GAP, limit=inner)
    return _stacked(item, rows, blocks, x, links, sheet)


def _leaves(item: Item) -> Iterator[int]:
    if isinstance(item, Group):
        yield from item.leaves()
    elif isinstance(item, int):
        yield item


def _inner_edge(owner: dict[int, Item], edge: SceneEdge) -> bool:
    source, target = owner.get(edge.source), owner.get(edge.target)
    return source is not None and target is not None and source != target


def _port(item: Item, block: Block, leaf: int) -> float:
    return 0.0 if isinstance(item, Group) and item.kind == "tray" else block.leaves[leaf][0]


def _link(owner: dict[int, Item], blocks: dict[Item, Block], source: int, target: int) -> Link:
    a, b = owner[source], owner[target]
    return Link(a, _port(a, blocks[a], source), b, _port(b, blocks[b], target))


def _pulls(group: Group, owner: dict[int, Item], blocks: dict[Item, Block], sheet: _Sheet) -> dict[Item, list[float]]:
    pulls: dict[Item, list[float]] = defaultdict(list)
    if group in sheet.hints:
        origin = sheet.hints[group]
        for leaf, item in owner.items():
            for other in sheet.neighbours[leaf]:
                if other not in owner:
                    pulls[item].append(sheet.hints[other] - origin - _port(item, blocks[item], leaf))
    return pulls


def _entered(owner: dict[int, Item], sheet: _Sheet) -> dict[Item, None]:
    """Items at which lines from outside the box end."""
    edges = sheet.scene.edges
    return dict.fromkeys(owner[e.target] for e in edges if e.target in owner and e.source not in owner)


def _with_lanes(
    rows: Sequence[Sequence[Item]],
    links: Sequence[Link],
    entered: Iterable[Item],
    pulls: dict[Item, list[float]],
    blocks: dict[Item, Block],
    *,
    sided: bool,
) -> tuple[list[list[Item]], list[Link]]:
    """Rows with room for the lines that pass through them, and links that go by way of that room.

    `blocks` receives the lanes; `pulls` from outside move to the lane at the top of the box if lanes
    are `sided`, otherwise a lane keeps to the middle.
    """
    row_of = {item: r for r, row in enumerate(rows) for item in row}
    lanes: list[list[Item]] = [[] for _ in rows]
    stretched: list[Link] = []

    def pave(link: Link, steps: range) -> None:
        before, offset = link.source, link.source_offset
        for r in steps:
            lane = ("lane", link.target, r)
            if lane not in blocks:
                lanes[r].append(lane)
            blocks[lane] = Block(0.0, 0.0, 0.0, 0.0, {})
            if before is not None:
                stretched.append(Link(before, offset, lane, 0.0, 1 if before == link.source else LANE_WEIGHT))
            before, offset = lane, 0.0
        stretched.append(Link(before, offset, link.target, link.target_offset, LANE_WEIGHT if steps else 1))

    for link in links:
        a, b = row_of[link.source], row_of[link.target]
        pave(link, range(a + 1, b) if a <= b else range(a - 1, b, -1))
    for item in entered:
        if row_of[item]:
            pave(Link(None, 0.0, item, 0.0), range(row_of[item]))
            pull = pulls.pop(item, [])
            if sided:
                pulls["lane", item, 0] = pull
    mixed = [
        [*row[: (len(row) + 1) // 2], *extra, *row[(len(row) + 1) // 2 :]]
        for row, extra in zip(rows, lanes, strict=True)
    ]
    return mixed, stretched


def _fitted(row: Sequence[Item], available: float, sheet: _Sheet) -> dict[Item, Block]:
    """Blocks of a row; boxes side by side are made narrower where that makes the row fit."""
    blocks: dict[Item, Block] = {i: _place(i, available, sheet) for i in row}
    boxes = [i for i in row if isinstance(i, Group)]
    excess = sum(b.width + COLUMN_GAP for b in blocks.values()) - COLUMN_GAP - available
    if len(row) > 1 and boxes and excess > 0:
        least = MIN_TRAY if any(i.kind == "tray" for i in boxes) else MIN_SHARE
        share = max((sum(blocks[i].width for i in boxes) - excess) / len(boxes), least)
        narrow = blocks | {i: _place(i, share, sheet) for i in boxes if blocks[i].width > share}
        if sum(b.width + COLUMN_GAP for b in narrow.values()) - COLUMN_GAP <= available + 1e-9:
            return narrow
    return blocks


def _wrapped(row: Sequence[Item], blocks: dict[Item, Block], available: float) -> Iterator[list[Item]]:
    """The row, or rows of about equal width that fit."""
    widths = [blocks[i].width + COLUMN_GAP for i in row]
    lines = max(1, math.ceil((sum(widths) - COLUMN_GAP) / available - 1e-9))
    target = max(sum(widths) / lines, 0.0)
    line: list[Item] = []
    used = total = 0.0
    number = 1
    for item, width in zip(row, widths, strict=True):
        full = used + width - COLUMN_GAP > available + 1e-9
        if line and (full or total + width / 2 > target * number):
            yield line
            line, used, number = [], 0.0, number + 1
        line.append(item)
        used, total = used + width, total + width
    yield line


def _tray(group: Group, available: float, sheet: _Sheet) -> Block:
    """Variables read row by row, in columns where they are about equally wide; the origin is in the last row."""
    blocks: dict[Item, Block] = {i: _place(i, available, sheet) for i in group.children}
    widest = max(b.width for b in blocks.values())
    rows = list(_wrapped(group.children, blocks, available - 2 * PAD))
    if widest < 1.5 * min(b.width for b in blocks.values()):
        blocks = {i: replace(b, left=widest / 2, right=widest / 2) for i, b in blocks.items()}
        most = max(1, int((available - 2 * PAD + COLUMN_GAP) / (widest + COLUMN_GAP)))
        columns = math.ceil(len(blocks) / math.ceil(len(blocks) / most))
        rows = [list(group.children[k : k + columns]) for k in range(0, len(blocks), columns)]
    half = max(sum(blocks[i].width + COLUMN_GAP for i in row) - COLUMN_GAP for row in rows) / 2 + PAD
    leaves: dict[int, tuple[float, float]] = {}
    y, bottom = 0.0, PAD + max(blocks[i].down for i in rows[-1])
    for number, row in enumerate(reversed(rows)):
        y += max(blocks[i].down for i in row) + TRAY_GAP if number else 0.0
        x = PAD - half
        for item in row:
            leaves.update({k: (x + blocks[item].left, y) for k in blocks[item].leaves})
            x += blocks[item].width + COLUMN_GAP
        y += max(blocks[i].up for i in row)
    return Block(half, half, y + PAD, bottom, leaves, (Frame(group, -half, -bottom, half, y + PAD),))


def _stacked(
    group: Group,
    rows: Iterable[Sequence[Item]],
    blocks: dict[Item, Block],
    x: dict[Item, float],
    links: Sequence[Link],
    sheet: _Sheet,
) -> Block:
    """Rows one under another, wider apart where lines fan out, then the box around them."""
    pad = PAD if group.kind in ("plate", "island") else 0.0
    side = PAD if group.kind == "plate" else 0.0
    leaves: dict[int, tuple[float, float]] = {}
    frames: list[Frame] = []
    y = -pad
    above: set[Item] = set()
    for row in rows:
        if above:
            y -= _row_gap(above, row, x, links)
        y -= max(blocks[i].up for i in row)
        for item in row:
            leaves.update({k: (lx + x[item], ly + y) for k, (lx, ly) in blocks[item].leaves.items()})
            frames.extend(f.moved(x[item], y) for f in blocks[item].frames)
        y -= max(blocks[i].down for i in row)
        above = set(row)
    left = min((x[i] - blocks[i].left for row in rows for i in row), default=0.0) - side
    right = max((x[i] + blocks[i].right for row in rows for i in row), default=0.0) + side
    bottom = y - pad
    if any(group.captions):
        bottom -= CAPTION
        widths = [sheet.ruler(c, SIZES["side"])[0] for c in group.captions if c]
        lack = max(sum(widths) + 0.1 * len(widths) + 0.06 - (right - left), 0.0) / 2
        left, right = left - lack, right + lack
    return Block(-left, right, 0.0, -bottom, leaves, (*frames, Frame(group, left, bottom, right, 0.0)))


def _row_gap(above: set[Item], row: Sequence[Item], x: dict[Item, float], links: Sequence[Link]) -> float:
    reach = [
        abs(x[k.source] + k.source_offset - x[k.target] - k.target_offset)
        for k in links
        if (k.source in above and k.target in row) or (k.target in above and k.source in row)
    ]
    return min(max([ROW_GAP, *(FAN_SLOPE * r for r in reach)]), MAX_ROW_GAP)
