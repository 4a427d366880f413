"""The scene as DOT text, for Graphviz and for tools that read it; nothing is rendered here."""

import html
from typing import TYPE_CHECKING

from factorgraph.drawing.scene import Scene, SceneNode, ScenePlate, collapse
from factorgraph.drawing.typesetting import family_name, html_label, operator_sign, printable

if TYPE_CHECKING:
    import graphviz
    import networkx

_SHAPES = {
    "variable": {"shape": "ellipse", "margin": "0.03,0.02"},
    "data": {"shape": "ellipse", "margin": "0.03,0.02", "style": "filled", "fillcolor": "#c8c8c8"},
    "relation": {"shape": "diamond", "style": "filled", "fillcolor": "#fbe5b8", "margin": "0.01"},
    "factor": {"shape": "square", "style": "filled", "fillcolor": "black", "width": "0.14", "height": "0.14"},
}


def to_dot(
    g: "networkx.Graph", *, title: str | None = None, expand: bool = False, priors: bool = False
) -> "graphviz.Digraph":
    """The factor graph as a ``graphviz.Digraph`` with one cluster a plate.

    ``.source`` is the DOT text and needs no program; ``.render`` and display in a notebook need Graphviz's ``dot``.
    Keywords as in `draw`. Node names are ``n0``, ``n1``, ...; every label is HTML-like and escaped.
    """
    import graphviz

    scene = collapse(g, expand=expand)
    dot = graphviz.Digraph("factorgraph", graph_attr={"rankdir": "TB", "fontname": "Times", "compound": "true"})
    dot.attr("node", fontname="Times", fontsize="11", width="0.4", height="0.4")
    dot.attr("edge", arrowsize="0.6", color="#4d4d4d")
    if title:
        dot.attr(label=_html(html.escape(printable(title))), labelloc="t")
    _fill(dot, scene, None, priors=priors)
    for edge in scene.edges:
        arrow = "normal" if edge.role in ("drawn", "data") else "none"
        dot.edge(f"n{edge.source}", f"n{edge.target}", arrowhead=arrow)
    return dot


def _fill(dot: "graphviz.Digraph", scene: Scene, plate: str | None, *, priors: bool) -> None:
    for node in scene.nodes:
        if node.plate == plate:
            _add_node(dot, node)
            if priors and node.prior:
                _add_prior(dot, node)
    for number, inner in enumerate(scene.plates):
        if inner.parent == plate:
            with dot.subgraph(name=f"cluster_{number}") as cluster:
                cluster.attr(
                    label=_html(_caption(inner)), labeljust="r", labelloc="b", style="rounded", color="#7f7f7f"
                )
                _fill(cluster, scene, inner.name, priors=priors)


def _caption(plate: ScenePlate) -> str:
    label = html.escape(printable(plate.label))
    index = f" <i>{html.escape(plate.index)}</i>" if plate.index else ""
    return f"{label}{index}: <i>N</i> = {plate.size:,}" if label else f"<i>N</i> = {plate.size:,}"


def _add_node(dot: "graphviz.Digraph", node: SceneNode) -> None:
    name, style = f"n{node.key}", dict(_SHAPES[node.kind])
    if node.kind == "factor":
        if node.factor_kind == "hierarchical":
            style["fillcolor"] = "#0072b2"
        text = html.escape(family_name(node.detail or node.label))
        dot.node(name, label="", xlabel=_html(text), **style)
    elif node.kind == "relation":
        dot.node(name, label=_html(html.escape(operator_sign(node.detail or node.label))), **style)
    else:
        dot.node(name, label=_html(html_label(node.label, node.index)), **style)


def _add_prior(dot: "graphviz.Digraph", node: SceneNode) -> None:
    dot.node(f"p{node.key}", label="", xlabel=_html(html.escape(family_name(node.prior))), **_SHAPES["factor"])
    dot.edge(f"p{node.key}", f"n{node.key}", arrowhead="normal")


def _html(text: str) -> str:
    """`text` as an HTML-like label, which a space keeps from being empty."""
    return f"<{text or ' '}>"
