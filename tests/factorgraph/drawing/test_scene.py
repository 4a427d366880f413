"""What is merged, what is counted, and which way the lines point."""

import networkx as nx
import pytest

from factorgraph.drawing import collapse
from factorgraph.errors import GraphError
from tests.factorgraph.drawing import graphs
from tests.factorgraph.drawing.graphs import Sketch


def by_label(scene):
    return {(n.kind, n.label, n.plate): n for n in scene.nodes}


def arrows(scene):
    return {(scene.nodes[e.source].label, scene.nodes[e.target].label, e.role) for e in scene.edges}


def test_replicates_become_one_node_with_their_count():
    size = 50
    scene = collapse(graphs.population(size))
    nodes = by_label(scene)
    assert len(nodes) == 2 + 3 + 1 + 1 + 1  # hyper-parameters, locals, likelihood, parent, data
    assert {n.size for n in nodes.values() if n.plate} == {size}
    assert {n.size for n in nodes.values() if not n.plate} == {1}
    assert nodes["data", "galaxy", "plate"].index == "i"
    assert {e.count for e in scene.edges if e.role in ("drawn", "reads")} == {size}
    assert scene.plates[0].size == size


def test_a_graph_that_is_collapsed_already_gives_the_same_scene():
    s = Sketch()
    plate, mu, sigma = s.plate("plate", 50), s.variable("mu"), s.variable("sigma", detail="UniformPrior(0, 30)")
    local = [s.variable(name, plate, size=50) for name in ("centre", "normalization", "sigma")]
    s.analysis("galaxy", local, plate, size=50)
    s.parent([mu, sigma], local[:1])
    one, many = collapse(s.graph), collapse(graphs.population(50))
    assert {k: n.size for k, n in by_label(one).items() if k[0] != "factor"} == {
        k: n.size for k, n in by_label(many).items() if k[0] != "factor"
    }
    assert one.plates == many.plates


def test_lines_point_from_parents_to_data():
    pointed = arrows(collapse(graphs.scaling_relation()))
    assert pointed == {
        ("b", "*", "operand"),
        ("a", "+", "operand"),
        ("*", "+", "operand"),
        ("+", "parent", "parameter"),
        ("tau", "parent", "parameter"),
        ("parent", "theta", "drawn"),
        ("theta", "g0", "reads"),
        ("g0", "g", "data"),
    }


def test_source_attribute_names_the_operand_of_a_relation():
    s = Sketch()
    a = s.variable("a")
    outer = s.relation("+", [a])
    inner = s.relation("*", [a])
    s.graph.add_edge(outer, inner, role="operand", source=inner)
    s.analysis("first", [inner], role="first")
    s.analysis("second", [outer], role="second")
    assert ("*", "+", "operand") in arrows(collapse(s.graph))


def test_a_chain_keeps_both_lines_between_the_merged_nodes():
    roles = {(s, t, r) for s, t, r in arrows(collapse(graphs.chain())) if r in ("parameter", "drawn") and s != "sigma"}
    assert roles == {("x", "parent", "parameter"), ("parent", "x", "drawn")}


def test_a_prior_factor_of_one_variable_becomes_its_prior():
    s = Sketch()
    variable = s.variable("mu", detail="")
    factor = s.node("factor", "prior", factor_kind="prior", detail="UniformPrior(0, 100)")
    s.graph.add_edge(factor, variable)
    s.analysis("data", [variable])
    scene = collapse(s.graph)
    assert by_label(scene)["variable", "mu", None].prior == "UniformPrior(0, 100)"
    assert len(scene.nodes) == 3


def test_a_drawn_variable_has_no_prior_of_its_own():
    nodes = by_label(collapse(graphs.population(5)))
    assert nodes["variable", "centre", "plate"].prior == ""
    assert nodes["variable", "normalization", "plate"].prior == "GaussianPrior(50, 10)"


def test_one_dataset_is_drawn_without_a_plate_and_with_its_name():
    scene = collapse(graphs.population(1))
    assert scene.plates == ()
    assert {n.index for n in scene.nodes} == {""}
    assert ("data", "galaxy_0000", None) in by_label(scene)


def test_nested_plates_carry_both_indices():
    scene = collapse(graphs.nested())
    assert {p.name: p.parent for p in scene.plates} == {"clusters": None, "galaxies": "clusters"}
    assert by_label(scene)["variable", "x", "galaxies"].index == "cg"


def test_nodes_outside_plates_are_never_merged():
    g = nx.Graph()
    g.add_node("a", kind="variable", label="a")
    g.add_node("b", kind="variable", label="b")
    assert len(collapse(g).nodes) == 2


def test_expand_numbers_the_replicates():
    scene = collapse(graphs.population(5), expand=True)
    assert [n.index for n in scene.nodes if n.label == "centre"] == ["1", "2", "3", "4", "5"]
    assert scene.plates == ()
    with pytest.raises(GraphError, match="expand=False"):
        collapse(graphs.population(61), expand=True)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"kind": "message"}, "kind 'message'"), ({"kind": "variable", "plate": "nowhere"}, "nowhere")],
)
def test_what_cannot_be_read_is_named(attributes, message):
    g = nx.Graph(plates={})
    g.add_node("n", label="n", **attributes)
    with pytest.raises(GraphError, match=message):
        collapse(g)
