"""Layered drawing of one directed graph of boxes: ranks, order within a rank, positions along a rank.

The method is Sugiyama's: break cycles, rank by longest path, order by barycentres, place by least squares with minimal
separations. It sees opaque items with extents and links between ports, not what they stand for.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Item = Hashable
SWEEPS, STIFFNESS = 12, 8.0


@dataclass(frozen=True, slots=True)
class Link:
    """A line from a port of `source` to a port of `target`; offsets are measured from the items' own positions."""

    source: Item
    source_offset: float
    target: Item
    target_offset: float
    weight: int = 1


def ranks(items: Sequence[Item], arcs: Sequence[tuple[Item, Item]], *, last: Collection[Item] = ()) -> dict[Item, int]:
    """Longest-path rank of every item, 0 at the top; an item that nothing points at sits just above what it feeds.

    Items of `last` that feed nothing share the lowest rank any of them needs.
    """
    after = _acyclic(items, arcs)
    before: dict[Item, set[Item]] = defaultdict(set)
    for source, targets in after.items():
        for target in targets:
            before[target].add(source)
    rank: dict[Item, int] = {}
    ready = [i for i in items if not before[i]]
    waiting = {i: len(before[i]) for i in items}
    while ready:
        item = ready.pop()
        rank[item] = max((rank[b] + 1 for b in before[item]), default=0)
        for target in after[item]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    ends = [i for i in last if not after[i]]
    rank.update(dict.fromkeys(ends, max((rank[i] for i in ends), default=0)))
    for item in items:
        if not before[item] and after[item]:
            rank[item] = min(rank[t] for t in after[item]) - 1
    return rank


def _acyclic(items: Sequence[Item], arcs: Sequence[tuple[Item, Item]]) -> dict[Item, set[Item]]:
    """Successors of every item, without the arcs that close a cycle in a depth-first walk from the sources."""
    after: dict[Item, list[Item]] = {i: [] for i in items}
    targets = set()
    for source, target in dict.fromkeys(arcs):
        if source != target:
            after[source].append(target)
            targets.add(target)
    kept: dict[Item, set[Item]] = {i: set() for i in items}
    done: set[Item] = set()
    for root in [*(i for i in items if i not in targets), *items]:
        path = {root: iter(after[root])} if root not in done else {}
        while path:
            item = next(reversed(path))
            target = next(path[item], None)
            if target is None:
                done.add(item)
                path.popitem()
            elif target not in path:
                kept[item].add(target)
                if target not in done:
                    path[target] = iter(after[target])
    return kept


def positions(
    rows: Sequence[Sequence[Item]],
    extents: Mapping[Item, tuple[float, float]],
    links: Sequence[Link],
    pulls: Mapping[Item, Sequence[float]],
    *,
    stiff: Collection[Item] = (),
    gap: float,
    limit: float,
) -> dict[Item, float]:
    """Abscissa of every item: short, mostly vertical links, nothing overlapping in a row, rows within `limit`.

    Parameters
    ----------
    rows
        Items of each row, top first, in their first order.
    extents
        Reach of each item to the left and to the right of its position.
    links
        Lines between items.
    pulls
        Positions where lines from outside want an item to be; they count for the order only.
    stiff
        Items that would rather push their neighbours aside than move.
    gap
        Least space between neighbours.
    limit
        Width the rows have; a row that needs more takes more.
    """
    row_of = {item: r for r, row in enumerate(rows) for item in row}
    ports: dict[Item, list[tuple[float, Item, float]]] = defaultdict(list)
    for link in links:
        ports[link.source] += link.weight * [(link.source_offset, link.target, link.target_offset)]
        ports[link.target] += link.weight * [(link.target_offset, link.source, link.source_offset)]
    weights = {item: STIFFNESS if item in stiff else 1.0 for item in row_of}
    x: dict[Item, float] = {}
    for row in rows:
        x.update(_separated(list(row), [0.0] * len(row), weights, extents, gap, limit))
    ordered = [list(row) for row in rows]
    wanted: dict[Item, float] = {}
    for sweep in range(SWEEPS):
        down, ordering = sweep % 2 == 0, sweep < SWEEPS - 4
        for row in ordered if down else ordered[::-1]:
            for item in row:
                near = [
                    x[other] + there - here
                    for here, other, there in ports[item]
                    if row_of[other] != row_of[item] and (not ordering or (row_of[other] < row_of[item]) == down)
                ]
                near += pulls.get(item, ()) if ordering else ()
                wanted[item] = sum(near) / len(near) if near else x[item]
            if ordering:
                row.sort(key=lambda item: round(wanted[item], 1))  # near ties keep their order
            x.update(_separated(row, [wanted[i] for i in row], weights, extents, gap, limit))
    for row in ordered:  # what hangs on one thing only hangs straight below it
        for item in row:
            above = {x[other] + there - here for here, other, there in ports[item] if row_of[other] < row_of[item]}
            wanted[item] = above.pop() if len(above) == 1 else x[item]
        x.update(_separated(row, [wanted[i] for i in row], weights, extents, gap, limit))
    return x


def _separated(
    row: Sequence[Item],
    wanted: Sequence[float],
    weights: Mapping[Item, float],
    extents: Mapping[Item, tuple[float, float]],
    gap: float,
    limit: float,
) -> dict[Item, float]:
    """Least-squares positions in the given order with neighbours apart: isotonic regression after a shift."""
    if not row:
        return {}
    shift = [0.0]
    for a, b in pairwise(row):
        shift.append(shift[-1] + extents[a][1] + gap + extents[b][0])
    pools: list[tuple[float, float, int]] = []
    for item, target, offset in zip(row, wanted, shift, strict=True):
        mean, weight, count = target - offset, weights[item], 1
        while pools and pools[-1][0] >= mean:
            before, more, n = pools.pop()
            mean, weight, count = (before * more + mean * weight) / (more + weight), more + weight, n + count
        pools.append((mean, weight, count))
    free = [mean for mean, _, count in pools for _ in range(count)]
    low = -limit / 2 + extents[row[0]][0]
    high = max(limit / 2 - extents[row[-1]][1] - shift[-1], low)
    if shift[-1] + extents[row[0]][0] + extents[row[-1]][1] > limit:
        low = high = -(shift[-1] + extents[row[-1]][1] - extents[row[0]][0]) / 2
    return {item: min(max(f, low), high) + s for item, f, s in zip(row, free, shift, strict=True)}
