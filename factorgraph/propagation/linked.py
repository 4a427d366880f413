"""Which shared variables are a field, and which are hubs: the shape of a large graph.

A chain of a thousand epochs has a thousand shared variables, which touch three terms each, and one scatter that all
touch. The thousand are integrated out as a `field`; the scatter is a hub, and EP sees a graph of one shared variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.density import DatasetArrays, Role, Signature
from factorgraph.graph.message_families import EXPONENTIAL
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.graph.terms import Term, Terms
from factorgraph.propagation.band import Order, order_of
from factorgraph.propagation.contracted import Lane

FIELD = Lane("field")
_FEWEST = 16  # variables of a field; smaller graphs are solved by one joint normal distribution
_FEWEST_CHILDREN = 8  # drawn with the parameter, of a hub
_FEWEST_TERMS, _MORE_TERMS = 8, 3.0  # of a hub that is not drawn itself: so many, and so many times the median
_MOST_HUBS = 6  # of one component
_WIDEST = 0.25  # band, of the number of variables


@dataclass(frozen=True, eq=False, slots=True)
class FieldPart:
    """A plate that touches a field, with all its terms alike in which variables are of the field.

    ``plate`` counts the shared variables as the whole graph does; see `field.FieldTerms` for the rest.
    """

    plate: Plate
    lane: Lane
    place: np.ndarray
    is_field: np.ndarray
    hub: np.ndarray
    component: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class FieldComponents(Plate):
    """The components of a field that touch equally many hubs, as the terms of one plate over the hubs.

    Attributes
    ----------
    parts
        What touches them.
    variables
        (n,) which of the graph's shared variables, in the order of the band.
    hubs
        (H,) which of the graph's shared variables are the hubs.
    everything
        All shared variables of the graph.
    """

    parts: tuple[FieldPart, ...]
    variables: np.ndarray
    order: Order
    hubs: np.ndarray
    everything: tuple[SharedVariable, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Linked:
    """A graph over its hubs (H,): ``plates`` are those that touch no field, then the `FieldComponents`."""

    hubs: np.ndarray
    shared: tuple[SharedVariable, ...]
    plates: tuple[Plate, ...]
    lanes: tuple[Lane, ...]


def linked(
    terms: Terms, shared: tuple[SharedVariable, ...], plates: Sequence[Plate], lanes: Sequence[Lane]
) -> Linked | None:
    """The graph over its hubs; None where it has no field worth the name, or one that is linked through and through.

    What has messages of an exponential family of its own is a hub: a field is normal.

    Raises
    ------
    GraphError
        For that there are too many of them.
    """
    is_chosen = np.array([terms.families.get(s.variable) in EXPONENTIAL for s in shared], dtype=bool)
    is_hub = _hubs(terms, shared, plates) | is_chosen
    field = np.flatnonzero(~is_hub)
    if len(field) < _FEWEST:
        return None
    position = np.full(len(shared), -1)
    position[field] = np.arange(len(field))
    order = order_of(len(field), _links(position, plates))
    if order.width > max(1, _WIDEST * len(field)):
        return None
    hubs = np.flatnonzero(is_hub)
    number = np.cumsum(is_hub) - 1  # of a hub among the hubs
    place = np.full(len(shared), -1)
    place[field[order.order]] = np.arange(len(field))
    outer, inner = _split(plates, lanes, is_hub)
    touched = _touched(inner, place, order.component, number)
    if max(map(len, touched), default=0) > _MOST_HUBS:
        if max(int(np.sum(~is_chosen[hubs[list(found)]])) for found in touched) <= _MOST_HUBS:
            raise GraphError(
                f"families: {int(np.sum(is_chosen))} variables with messages that are not normal touch one chain or "
                f"grid of linked variables; at most {_MOST_HUBS} may. Choose {', '.join(map(repr, EXPONENTIAL))} only "
                "for parameters that all its variables share."
            )
        return None
    outer_plates = [replace(plate, shared_index=number[plate.shared_index]) for plate, _ in outer]
    components = [
        _components(chosen, touched, inner, place, order, field[order.order], hubs, shared)
        for chosen in _alike(touched)
    ]
    return Linked(
        hubs,
        tuple(shared[i] for i in hubs),
        (*outer_plates, *components),
        (*(lane for _, lane in outer), *(FIELD for _ in components)),
    )


def _hubs(terms: Terms, shared: Sequence[SharedVariable], plates: Sequence[Plate]) -> np.ndarray:
    """(D,) parameters of many draws of shared variables, and what many more terms touch than touch the others."""
    degree, children = np.zeros(len(shared), int), np.zeros(len(shared), int)
    for plate in plates:
        np.add.at(degree, plate.shared_index, 1)
        signature = plate.signature
        if not signature.analyses and len(signature.draws) == 1:
            drawn = signature.roles[signature.draws[0][0]].position
            np.add.at(children, np.delete(plate.shared_index, drawn, axis=1), 1)
    is_drawn = np.array([s.variable in terms.draws for s in shared], dtype=bool)
    many = max(_FEWEST_TERMS, _MORE_TERMS * float(np.median(degree))) if len(shared) else 0.0
    return (children >= _FEWEST_CHILDREN) | (~is_drawn & (degree >= many))


def _links(position: np.ndarray, plates: Sequence[Plate]) -> np.ndarray:
    """(m, 2) pairs of field variables that some term touches together."""
    pairs = [np.zeros((0, 2), int)]
    for plate in plates:
        at = position[plate.shared_index]
        for i in range(at.shape[1]):
            for j in range(i):
                both = (at[:, i] >= 0) & (at[:, j] >= 0)
                pairs.append(np.unique(np.stack([at[both, i], at[both, j]], axis=1), axis=0))
    return np.concatenate(pairs)


def _split(
    plates: Sequence[Plate], lanes: Sequence[Lane], is_hub: np.ndarray
) -> tuple[list[tuple[Plate, Lane]], list[tuple[Plate, Lane]]]:
    """Plates over hubs alone, and those that touch the field, each with terms that touch it in the same places."""
    outer: list[tuple[Plate, Lane]] = []
    inner: list[tuple[Plate, Lane]] = []
    for plate, lane in zip(plates, lanes, strict=True):
        pattern = is_hub[plate.shared_index]
        for kind in np.unique(pattern, axis=0):
            rows = np.flatnonzero(np.all(pattern == kind, axis=1))
            part = plate if len(rows) == plate.size else plate.take(rows)
            (outer if np.all(kind) else inner).append((part, lane))
    return outer, inner


def _touched(
    inner: Sequence[tuple[Plate, Lane]], place: np.ndarray, component: np.ndarray, number: np.ndarray
) -> list[tuple[int, ...]]:
    """The hubs that each component touches, ascending."""
    found: list[set[int]] = [set() for _ in range(int(np.max(component, initial=-1)) + 1)]
    for plate, _ in inner:
        is_field = place[plate.shared_index[0]] >= 0
        of = component[place[plate.shared_index[:, is_field][:, 0]]]
        pairs = np.concatenate([of[:, None], number[plate.shared_index[:, ~is_field]]], axis=1)
        for row in np.unique(pairs, axis=0):
            found[row[0]].update(int(h) for h in row[1:])
    return [tuple(sorted(hubs)) for hubs in found]


def _alike(touched: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Components that touch equally many hubs."""
    counts = np.array([len(hubs) for hubs in touched])
    return [np.flatnonzero(counts == count) for count in np.unique(counts)]


def _components(
    chosen: np.ndarray,
    touched: Sequence[tuple[int, ...]],
    inner: Sequence[tuple[Plate, Lane]],
    place: np.ndarray,
    order: Order,
    variables: np.ndarray,
    hubs: np.ndarray,
    shared: tuple[SharedVariable, ...],
) -> FieldComponents:
    inside = np.isin(order.component, chosen)
    new_place, new_component = np.cumsum(inside) - 1, np.searchsorted(chosen, order.component)
    index = np.array([touched[c] for c in chosen], dtype=int).reshape(len(chosen), -1)
    parts = []
    for plate, lane in inner:
        is_field = place[plate.shared_index[0]] >= 0
        rows = np.flatnonzero(inside[place[plate.shared_index[:, is_field][:, 0]]])
        if not len(rows):
            continue
        part = plate if len(rows) == plate.size else plate.take(rows)
        at = place[part.shared_index[:, is_field]]
        component = new_component[at[:, 0]]
        number = np.searchsorted(hubs, part.shared_index[:, ~is_field])
        hub = np.argmax(index[component][:, None, :] == number[:, :, None], axis=2) if index.shape[1] else number
        parts.append(FieldPart(part, lane, new_place[at], is_field, hub.astype(int), component))
    signature = Signature(
        structure=parts[0].plate.signature.structure,
        parents=parts[0].plate.signature.parents,
        parent_slots=(),
        num_constants=0,
        roles=tuple(Role(True, i) for i in range(index.shape[1])),
        draws=(),
        analyses=tuple(dict.fromkeys(cls for part in parts for cls in part.plate.signature.analyses)),
        reads_shared=True,
        interface=(),
        fixed=(),
    )
    names = [f"field {number}" for number in chosen]
    return FieldComponents(
        signature,
        tuple(Term(name, (), (), ()) for name in names),
        DatasetArrays((), np.zeros((len(chosen), index.shape[1], 4)), np.zeros((len(chosen), 0, 4))),
        index,
        tuple(() for _ in chosen),
        tuple(parts),
        variables[inside],
        Order(np.arange(int(np.sum(inside))), order.width, new_component[inside]),
        hubs,
        shared,
    )
