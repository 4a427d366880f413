"""Which nodes belong together in a box, as a tree of pieces, plates and islands.

A plate is a box, possibly inside another; so is a factor outside any plate together with what only it reads (an island,
drawn without outline) and each unconnected piece of the graph. `Block` and `Frame` hold a box once it has a size.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factorgraph.drawing.scene import Scene, SceneNode, ScenePlate
from factorgraph.drawing.typesetting import literal, printable, wrapped

PAD = 0.11


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A box of nodes (by key) and boxes; `captions` stand in its lower corners."""

    kind: str
    children: tuple["int | Group", ...]
    captions: tuple[str, str] = ("", "")

    def leaves(self) -> Iterator[int]:
        """Keys of all nodes in the box."""
        for child in self.children:
            yield from child.leaves() if isinstance(child, Group) else (child,)


@dataclass(frozen=True, slots=True)
class Frame:
    """A placed box; (x, y) is its own origin on the page."""

    group: Group
    x0: float
    y0: float
    x1: float
    y1: float
    x: float = 0.0
    y: float = 0.0

    def moved(self, dx: float, dy: float) -> "Frame":
        """The same box elsewhere."""
        return Frame(self.group, self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy, self.x + dx, self.y + dy)


@dataclass(frozen=True, slots=True)
class Block:
    """A laid-out item: extents about its origin, and what is in it."""

    left: float
    right: float
    up: float
    down: float
    leaves: dict[int, tuple[float, float]]
    frames: tuple[Frame, ...] = ()

    @property
    def width(self) -> float:
        return self.left + self.right


def components(scene: Scene) -> tuple["int | Group", ...]:
    """Children of the page: one box for each unconnected piece, or the contents of the only one."""
    plates = {p.name: p for p in scene.plates}
    top = {n.key: _lineage(n.plate, plates)[0] if n.plate else None for n in scene.nodes}
    leader: dict[object, object] = {}

    def find(item: object) -> object:
        while leader.get(item, item) != item:
            item = leader[item]
        return item

    for a, b in [(e.source, e.target) for e in scene.edges] + [(k, ("plate", p)) for k, p in top.items() if p]:
        leader[find(b)] = find(a)
    pieces: dict[object, list[SceneNode]] = defaultdict(list)
    for node in scene.nodes:
        pieces[find(node.key)].append(node)
    groups = [_boxed(piece, scene, plates) for piece in pieces.values()]
    if len(groups) == 1:
        return groups[0]
    return tuple(children[0] if len(children) == 1 else Group("piece", children) for children in groups)


def _lineage(plate: str | None, plates: dict[str, ScenePlate]) -> list[str]:
    chain: list[str] = []
    while plate is not None:
        chain.append(plate)
        plate = plates[plate].parent
    return chain[::-1]


def _boxed(piece: Sequence[SceneNode], scene: Scene, plates: dict[str, ScenePlate]) -> tuple["int | Group", ...]:
    inside: dict[str | None, list[int]] = defaultdict(list)
    for node in piece:
        inside[node.plate].append(node.key)
        for name in _lineage(node.plate, plates):
            inside.setdefault(name, [])

    def plate_boxes(parent: str | None) -> list["int | Group"]:
        names = [p.name for p in scene.plates if p.parent == parent and p.name in inside]
        return [Group("plate", (*inside[n], *plate_boxes(n)), _captions(plates[n], plates)) for n in names]

    boxes = plate_boxes(None)
    islands = _islands(inside[None], scene)
    if len(boxes) + len(islands) > 1:
        taken = {k for island in islands for k in island}
        return (*(k for k in inside[None] if k not in taken), *boxes, *(Group("island", i) for i in islands))
    return (*inside[None], *boxes)


def _captions(plate: ScenePlate, plates: dict[str, ScenePlate]) -> tuple[str, str]:
    others = [p.index for p in plates.values() if p is not plate]
    count = f"{plate.size:,}".replace(",", "{,}")
    below = f"_{plate.index}" if others and plate.index and plate.index not in others else ""
    label = literal(wrapped(printable(plate.label), 24)[0])
    return label + (f" $\\,{plate.index}$" if label and plate.index else ""), f"$N{below} = {count}$"


def _islands(keys: Sequence[int], scene: Scene) -> list[tuple[int, ...]]:
    """Each analysis factor among `keys` with its data and with the variables and relations that feed nothing else."""
    kinds = {k: scene.nodes[k].kind for k in keys}
    targets: dict[int, set[int]] = defaultdict(set)
    for edge in scene.edges:
        targets[edge.source].add(edge.target)
    islands = []
    for key in keys:
        if scene.nodes[key].factor_kind == "analysis":
            members = {key, *targets[key]}
            size = 0
            while len(members) != size:
                size = len(members)
                members |= {
                    k for k in keys if kinds[k] in ("variable", "relation") and targets[k] and targets[k] <= members
                }
            islands.append(tuple(k for k in keys if k in members))
    return islands
