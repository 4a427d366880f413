"""What a picture shows: the graph with every replicate merged into one node, and a data node under each likelihood.

The input is a bipartite ``networkx.Graph``. Node attributes:

===========  ==========================================================================================
kind         ``"variable"``, ``"factor"`` or ``"relation"`` (required)
label        plain text
latex        LaTeX without dollars, or None
plate, role  nodes of one plate with equal role are replicates of one another
detail       family, class or operator as text
size         replicates that the node already stands for, 1 if absent
factor_kind  factors only: ``"analysis"``, ``"hierarchical"`` or ``"prior"``
name         factors only: name of the dataset
===========  ==========================================================================================

Edge attribute ``role``: ``"reads"``, ``"operand"``, ``"result"``, ``"parameter"`` or ``"drawn"``. Between two relations
the optional edge attribute ``source`` names the operand; without it the relation farther from a factor is the operand.
``g.graph["plates"]`` maps a plate to ``{"size", "label", "index", "parent"}``. Nothing here knows about positions.
"""

import re
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from factorgraph.errors import GraphError

if TYPE_CHECKING:
    import networkx

MAX_EXPANDED = 60
_ORDER = {"variable": 0, "relation": 1, "factor": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneNode:
    """One shape of the picture, standing for `size` nodes of the graph; `prior` is the text of its own prior, or ""."""

    key: int
    kind: str
    label: str
    latex: str | None = None
    plate: str | None = None
    index: str = ""
    detail: str = ""
    size: int = 1
    factor_kind: str = ""
    prior: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEdge:
    """`count` edges of the graph, directed along the generative story: from parents to data."""

    source: int
    target: int
    role: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlate:
    """A box drawn around nodes that are repeated `size` times."""

    name: str
    size: int
    label: str
    index: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Nodes, directed edges and plates of one picture; `nodes[k].key == k`."""

    nodes: tuple[SceneNode, ...]
    edges: tuple[SceneEdge, ...]
    plates: tuple[ScenePlate, ...]


def collapse(g: "networkx.Graph", *, expand: bool = False) -> Scene:
    """Merge replicates (nodes of one plate with one role) into single nodes that carry their count.

    A prior factor of one variable becomes the text `SceneNode.prior` of that variable. Every analysis factor gets a
    data node. A plate of size 1 is no plate.

    Parameters
    ----------
    g
        The bipartite graph, attributes as in the module docstring.
    expand
        Keep every replicate as a node of its own, numbered from 1, without plates.

    Raises
    ------
    GraphError
        For a node without a known kind, an undeclared plate, or `expand` with more than 60 replicates of a role.
    """
    plates = _plates(g)
    folded = {n for n, a in g.nodes(data=True) if a.get("factor_kind") == "prior" and g.degree(n) == 1}
    groups: dict[Hashable, list[Hashable]] = defaultdict(list)
    for node, attributes in g.nodes(data=True):
        if node not in folded:
            groups[_group_of(node, attributes, plates)].append(node)
    scene = _expanded(g, groups) if expand else _merged(g, groups, plates)
    nodes, members = scene
    where = {node: key for key, group in enumerate(members) for node in group}
    edges = _edges(g, where)
    nodes = _with_priors(g, nodes, members, folded, edges)
    nodes, edges = _with_data(g, nodes, members, edges)
    shown = () if expand else _used_plates(plates, nodes)
    return Scene(nodes=tuple(nodes), edges=tuple(edges), plates=shown)


def _plates(g: "networkx.Graph") -> dict[str, ScenePlate]:
    declared: dict[str, dict[str, Any]] = g.graph.get("plates", {})
    plates = {}
    for name, entry in declared.items():
        parent = entry.get("parent")
        if parent is not None and parent not in declared:
            raise GraphError(f"plate {name!r} lies in plate {parent!r}, which graph['plates'] does not declare")
        label, index = str(entry.get("label", name)), re.sub(r"\W", "", str(entry.get("index", "i")))
        plates[name] = ScenePlate(name=name, size=int(entry["size"]), label=label, index=index, parent=parent)
    return plates


def _group_of(node: Hashable, attributes: dict[str, Any], plates: dict[str, ScenePlate]) -> Hashable:
    kind, plate = attributes.get("kind"), attributes.get("plate")
    if kind not in _ORDER:
        raise GraphError(f"node {node!r} has kind {kind!r}; a picture knows {', '.join(_ORDER)}")
    if plate is None:
        return ("single", node)
    if plate not in plates:
        raise GraphError(f"node {node!r} lies in plate {plate!r}, but graph['plates'] declares {sorted(plates)}")
    return (kind, plate, attributes.get("role"))


def _lineage(plate: str | None, plates: dict[str, ScenePlate]) -> list[ScenePlate]:
    """Plates of size above 1 around `plate`, outermost first."""
    chain: list[ScenePlate] = []
    while plate is not None and plates[plate] not in chain:
        chain.append(plates[plate])
        plate = plates[plate].parent
    return [p for p in reversed(chain) if p.size != 1]


def _node(key: int, attributes: dict[str, Any], **more: Any) -> SceneNode:
    return SceneNode(
        key=key,
        kind=attributes["kind"],
        label=str(attributes.get("label", "")),
        latex=attributes.get("latex"),
        detail=str(attributes.get("detail") or ""),
        factor_kind=str(attributes.get("factor_kind") or ""),
        **more,
    )


_Nodes = tuple[list[SceneNode], list[list[Hashable]]]


def _merged(g: "networkx.Graph", groups: dict[Hashable, list[Hashable]], plates: dict[str, ScenePlate]) -> _Nodes:
    nodes = []
    for key, group in enumerate(groups.values()):
        attributes = g.nodes[group[0]]
        around = _lineage(attributes.get("plate"), plates)
        size = sum(int(g.nodes[n].get("size", 1)) for n in group)
        plate, index = (around[-1].name, "".join(p.index for p in around)) if around else (None, "")
        nodes.append(_node(key, attributes, plate=plate, index=index, size=size))
    return nodes, list(groups.values())


def _expanded(g: "networkx.Graph", groups: dict[Hashable, list[Hashable]]) -> _Nodes:
    nodes: list[SceneNode] = []
    members: list[list[Hashable]] = []
    for group in groups.values():
        count = max(len(group), *(int(g.nodes[n].get("size", 1)) for n in group))
        if count > MAX_EXPANDED or count > len(group):
            label = g.nodes[group[0]].get("label")
            raise GraphError(f"{label!r} has {count:,} replicates, too many to draw one by one; use expand=False")
        for number, node in enumerate(group, start=1):
            index = str(number) if len(group) > 1 else ""
            nodes.append(_node(len(nodes), g.nodes[node], index=index))
            members.append([node])
    return nodes, members


def _edges(g: "networkx.Graph", where: dict[Hashable, int]) -> list[SceneEdge]:
    depth = _relation_depth(g)
    counts: dict[tuple[int, int, str], int] = defaultdict(int)
    for u, v, attributes in g.edges(data=True):
        if u in where and v in where:
            source, target = _oriented(g, u, v, attributes, depth)
            counts[where[source], where[target], str(attributes.get("role") or "")] += 1
    return [SceneEdge(source=s, target=t, role=role, count=n) for (s, t, role), n in counts.items()]


def _oriented(
    g: "networkx.Graph", u: Hashable, v: Hashable, edge: dict[str, Any], depth: dict[Hashable, int]
) -> tuple[Hashable, Hashable]:
    """(source, target): into factors and relations, except that a parent or a prior points at what it draws."""
    if g.nodes[u]["kind"] == g.nodes[v]["kind"]:
        if edge.get("source") in (u, v):
            return (u, v) if edge["source"] == u else (v, u)
        return (u, v) if depth.get(u, 0) >= depth.get(v, 0) else (v, u)
    low, high = sorted((u, v), key=lambda n: _ORDER[g.nodes[n]["kind"]])
    generates = edge.get("role") == "drawn" or g.nodes[high].get("factor_kind") == "prior"
    return (high, low) if generates else (low, high)


def _relation_depth(g: "networkx.Graph") -> dict[Hashable, int]:
    """Steps from each relation to the nearest factor, through relations only."""
    kind = {n: a["kind"] for n, a in g.nodes(data=True)}
    depth = {n: 1 for n in g if kind[n] == "relation" and any(kind[m] == "factor" for m in g[n])}
    queue = deque(depth)
    while queue:
        node = queue.popleft()
        for other in g[node]:
            if kind[other] == "relation" and other not in depth:
                depth[other] = depth[node] + 1
                queue.append(other)
    return depth


def _with_priors(
    g: "networkx.Graph",
    nodes: list[SceneNode],
    members: list[list[Hashable]],
    folded: set[Hashable],
    edges: list[SceneEdge],
) -> list[SceneNode]:
    drawn = {e.target for e in edges if e.role == "drawn"}
    texts = {next(iter(g[f])): str(g.nodes[f].get("detail") or g.nodes[f].get("label", "")) for f in folded}
    return [
        replace(n, prior=texts.get(members[n.key][0], n.detail)) if n.kind == "variable" and n.key not in drawn else n
        for n in nodes
    ]


def _with_data(
    g: "networkx.Graph", nodes: list[SceneNode], members: list[list[Hashable]], edges: list[SceneEdge]
) -> tuple[list[SceneNode], list[SceneEdge]]:
    data: list[SceneNode] = []
    links: list[SceneEdge] = []
    for node in nodes:
        if node.factor_kind == "analysis":
            names = [str(g.nodes[n].get("name") or "") for n in members[node.key]]
            label, index = _data_label(names, node.index)
            key = len(nodes) + len(data)
            data.append(SceneNode(key=key, kind="data", label=label, plate=node.plate, index=index, size=node.size))
            links.append(SceneEdge(source=node.key, target=key, role="data", count=node.size))
    return nodes + data, edges + links


def _data_label(names: Iterable[str], index: str) -> tuple[str, str]:
    """The dataset's own name; for many, what the names share before their numbers (``galaxy_001`` -> ``galaxy``)."""
    names = list(names)
    if len(names) == 1 and not (index and not index.isdigit()):
        return (names[0], "") if names[0] else ("data", index)
    stems = {re.sub(r"[\W_]*\d+$", "", name) for name in names}
    stem = stems.pop() if len(stems) == 1 else ""
    return stem or "data", index


def _used_plates(plates: dict[str, ScenePlate], nodes: list[SceneNode]) -> tuple[ScenePlate, ...]:
    used: dict[str, ScenePlate] = {}
    for node in nodes:
        parent = None
        for plate in _lineage(node.plate, plates):
            used.setdefault(plate.name, replace(plate, parent=parent))
            parent = plate.name
    return tuple(used.values())
