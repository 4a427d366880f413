"""The graph as a bipartite ``networkx.Graph``: one node a variable, factor and relation, with the attributes that
pictures read.

Node attributes: ``kind`` ("variable" | "factor" | "relation"), ``label``, ``latex``, ``role`` (equal within a plate for
replicates), ``plate``, ``detail``, ``size``; factors also ``factor_kind`` ("analysis" | "hierarchical") and ``name``.
Edges have a
``role``: "reads", "operand", "result", "parameter" or "drawn". ``graph["plates"]`` gives each plate's size, label and
index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from factorgraph.graph.plates import Plate
from factorgraph.graph.survey import PlateRow
from factorgraph.graph.terms import Draw, Terms
from factorgraph.model.expression import Relation
from factorgraph.model.prior import Prior
from factorgraph.model.tree import branches_of, label_of
from factorgraph.model.variable import Variable

_SYMBOLS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "negative": "-"}
_INDICES = "ijklmn"


def network_of(
    terms: Terms, plates: Sequence[Plate], names: Mapping[Variable, str], dataset_names: Mapping[int, str]
) -> Any:
    """Build the ``networkx.Graph``. ``dataset_names`` are keyed by ``id`` of the AnalysisFactor."""
    import networkx

    graph = networkx.Graph(plates={})
    builder = _Builder(graph, terms, names, dataset_names)
    boxes = [plate for plate in plates if plate.signature.analyses]
    for number, plate in enumerate(boxes):
        label = "dataset" if number == 0 else f"dataset_{number}"
        graph.graph["plates"][label] = {
            "size": plate.size,
            "label": "dataset",
            "index": _INDICES[number % len(_INDICES)],
        }
        if is_declared(plate, terms):
            builder.add_term(plate.terms[0], label, plate.size)
            continue
        for term in plate.terms:
            builder.add_term(term, label)
    for plate in plates:
        if not plate.signature.analyses:
            for term in plate.terms:
                for draw in term.draws:
                    if not isinstance(draw.parent, Prior):
                        builder.add_draw(draw, None, "draw")
    return graph


def is_declared(plate: Plate, terms: Terms) -> bool:
    """Whether the datasets are rows of declared plates that are linked by nothing of their own: one node stands for
    all."""
    shared, first = set(terms.shared), plate.terms[0]
    rows = [factor for factor in first.factors if isinstance(factor, PlateRow)]
    if not rows or len(rows) < len(first.factors):
        return False
    return not any(variable in shared for row in rows for variable in row.own)


class _Builder:
    """Adds nodes; shared things once, private things inside their plate."""

    def __init__(
        self, graph: Any, terms: Terms, names: Mapping[Variable, str], dataset_names: Mapping[int, str]
    ) -> None:
        self.graph = graph
        self.names = names
        self.dataset_names = dataset_names
        self.draws = terms.draws
        self.shared = set(terms.shared)
        self.nodes: dict[int, str] = {}
        self.size = 1

    def add_term(self, term: Any, plate: str, size: int = 1) -> None:
        """``size`` datasets by the nodes of one of them."""
        self.size = size
        for number, factor in enumerate(term.factors):
            name = self.dataset_names[id(factor)]
            key = f"factor {name}"
            detail = type(factor.analysis).__name__
            self.graph.add_node(
                key,
                kind="factor",
                factor_kind="analysis",
                label=detail,
                latex=None,
                role=("analysis", number),
                plate=plate,
                detail=detail,
                size=size,
                name=name,
            )
            self._connect(factor.prior_model, key, plate, term.name, ("model", number), "reads")
        for number, draw in enumerate(term.draws):
            if not isinstance(draw.parent, Prior):
                self.add_draw(draw, plate, ("draw", number), term.name)

    def add_draw(self, draw: Draw, plate: str | None, role: Any, dataset: str = "") -> None:
        child = self._variable(draw.variable, plate, dataset)
        key = f"draw {child}"
        detail = type(draw.family).__name__
        self.graph.add_node(
            key,
            kind="factor",
            factor_kind="hierarchical",
            label=detail,
            latex=None,
            role=role,
            plate=plate,
            detail=detail,
            size=1 if plate is None else self.size,
            name=getattr(draw.parent, "name", None) or "parent",
        )
        self.graph.add_edge(key, child, role="drawn")
        self._connect(draw.parameters, key, plate, dataset, (role, "parameter"), "parameter")

    def _connect(self, tree: Any, target: str, plate: str | None, dataset: str, role: Any, edge: str) -> None:
        """Join every variable and relation of ``tree`` to the node that reads it."""
        pending: list[tuple[Any, tuple[str, ...]]] = [(tree, ())]
        while pending:
            node, path = pending.pop()
            if isinstance(node, Variable):
                self.graph.add_edge(target, self._variable(node, plate, dataset), role=edge)
            elif isinstance(node, Relation):
                key = self._relation(node, plate, dataset, (role, path))
                self.graph.add_edge(target, key, role="result" if edge != "parameter" else "parameter")
            else:
                branches = branches_of(node)
                pending += [(child, (*path, name)) for name, child in branches[1]] if branches else []

    def _variable(self, variable: Variable, plate: str | None, dataset: str) -> str:
        if id(variable) in self.nodes:
            return self.nodes[id(variable)]
        private = variable not in self.shared
        name = self.names[variable]
        key = f"{dataset}.{name}" if private else name
        self.nodes[id(variable)] = key
        drawn = variable in self.draws
        self.graph.add_node(
            key,
            kind="variable",
            label=name,
            latex=None,
            role=("variable", name) if private else key,
            plate=plate if private else None,
            detail="" if drawn or not isinstance(variable, Prior) else _prior_text(variable),
            size=self.size if private else 1,
        )
        return key

    def _relation(self, relation: Relation, plate: str | None, dataset: str, role: Any) -> str:
        if id(relation) in self.nodes:
            return self.nodes[id(relation)]
        key = f"relation {len(self.nodes)}"
        self.nodes[id(relation)] = key
        self.graph.add_node(
            key,
            kind="relation",
            label=relation.name or _SYMBOLS.get(relation.operation, label_of(relation)),
            latex=None,
            role=("relation", role),
            plate=plate,
            detail=relation.operation,
            size=1 if plate is None else self.size,
        )
        for number, operand in enumerate(relation.operands):
            if isinstance(operand, Variable):
                self.graph.add_edge(key, self._variable(operand, plate, dataset), role="operand")
            elif isinstance(operand, Relation):
                inner = self._relation(operand, plate, dataset, (role, number))
                self.graph.add_edge(key, inner, role="operand", source=inner)
        return key


def _prior_text(prior: Prior) -> str:
    shown = prior.printed or tuple(prior.arguments)
    name = type(prior).__name__.removesuffix("Prior")
    return f"{name}({', '.join(format(getattr(prior, argument), 'g') for argument in shown)})"
