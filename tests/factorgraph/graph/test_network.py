"""The bipartite graph: its nodes, its edges, and the attributes that pictures read."""

from __future__ import annotations

import networkx as nx
import pytest

import factorgraph as fg


class Profile:
    def __init__(self, centre=0.0, width=1.0):
        self.centre = centre
        self.width = width


class Image(fg.Analysis):
    def log_likelihood_function(self, instance):
        return -0.5 * instance.centre**2


class Spectrum(Image):
    pass


def nodes(graph, **attributes):
    return [n for n, data in graph.nodes(data=True) if all(data.get(k) == v for k, v in attributes.items())]


@pytest.fixture(scope="module")
def population():
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, name="field", mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.UniformPrior(0.0, 3.0)
    )
    factors = []
    for number in range(3):
        model = fg.Model(Profile, width=fg.GaussianPrior(1.0, 0.5))
        parent.add_drawn_variable(model.centre)
        factors.append(fg.AnalysisFactor(model, Image(), name=f"galaxy {number}"))
    return fg.FactorGraphModel(*factors, parent).networkx


@pytest.fixture(scope="module")
def regression():
    """Two plates, and relations: centre_i = slope x_i + offset."""
    slope, offset = fg.GaussianPrior(1.0, 1.0, name="slope"), fg.GaussianPrior(0.0, 1.0)
    factors = []
    for number, analysis in enumerate((Image(), Image(), Spectrum())):
        model = fg.Model(Profile, width=fg.GaussianPrior(1.0, 0.5))
        model.centre = slope * float(number + 1) + offset
        factors.append(fg.AnalysisFactor(model, analysis))
    return fg.FactorGraphModel(*factors).networkx


def test_counts(population):
    assert type(population) is nx.Graph
    assert len(nodes(population, kind="variable")) == 2 + 2 * 3
    assert len(nodes(population, kind="factor", factor_kind="analysis")) == 3
    assert len(nodes(population, kind="factor", factor_kind="hierarchical")) == 3
    assert nodes(population, kind="relation") == []
    assert nx.is_connected(population)


@pytest.mark.parametrize("which", ["population", "regression"])
def test_bipartite(which, request):
    """Variables on one side, factors on the other; a relation stands between them."""
    graph = request.getfixturevalue(which)
    kinds = nx.get_node_attributes(graph, "kind")
    for first, second in graph.edges:
        pair = {kinds[first], kinds[second]}
        assert len(pair) == 2 or pair == {"relation"}


@pytest.mark.parametrize("which", ["population", "regression"])
def test_attributes(which, request):
    graph = request.getfixturevalue(which)
    for _, data in graph.nodes(data=True):
        assert {"kind", "label", "latex", "role", "plate", "detail", "size"} <= set(data)
        assert data["kind"] in ("variable", "factor", "relation")
        assert data["plate"] is None or data["plate"] in graph.graph["plates"]
        if data["kind"] == "factor":
            assert data["factor_kind"] in ("analysis", "hierarchical")
            assert data["name"]
    roles = {data["role"] for _, _, data in graph.edges(data=True)}
    assert roles <= {"reads", "operand", "result", "parameter", "drawn"}


def test_plates(population, regression):
    assert population.graph["plates"] == {"dataset": {"size": 3, "label": "dataset", "index": "i"}}
    assert [plate["size"] for plate in regression.graph["plates"].values()] == [2, 1]
    shared = nodes(population, kind="variable", plate=None)
    assert len(shared) == 2
    assert len(nodes(population, plate="dataset")) == 3 * 4  # image, draw, centre, width


def test_replicates_have_equal_roles(population):
    roles = {}
    for name in nodes(population, plate="dataset"):
        data = population.nodes[name]
        roles.setdefault((data["kind"], str(data["role"])), []).append(name)
    assert sorted(map(len, roles.values())) == [3, 3, 3, 3]


def test_edges_of_a_draw(population):
    for factor in nodes(population, factor_kind="hierarchical"):
        roles = sorted(data["role"] for _, _, data in population.edges(factor, data=True))
        assert roles == ["drawn", "parameter", "parameter"]
        assert population.nodes[factor]["name"] == "field"


def test_edges_of_a_dataset(population):
    names = {population.nodes[n]["name"] for n in nodes(population, factor_kind="analysis")}
    assert names == {"galaxy 0", "galaxy 1", "galaxy 2"}
    for factor in nodes(population, factor_kind="analysis"):
        assert [data["role"] for _, _, data in population.edges(factor, data=True)] == ["reads", "reads"]


def test_details(population, regression):
    details = {data["detail"] for _, data in population.nodes(data=True) if data["kind"] == "variable"}
    assert details == {
        "",
        "Gaussian(0, 5)",
        "Uniform(0, 3)",
        "Gaussian(1, 0.5)",
    }  # what is drawn has no prior of its own
    labels = {regression.nodes[n]["label"] for n in nodes(regression, factor_kind="analysis")}
    assert labels == {"Image", "Spectrum"}
    assert "slope" in {regression.nodes[n]["label"] for n in nodes(regression, kind="variable", plate=None)}


def test_relations_are_nodes(regression):
    relations = nodes(regression, kind="relation")
    assert len(relations) == 6  # a product and a sum in each of three datasets
    assert {regression.nodes[n]["label"] for n in relations} == {"+", "*"}
    for node in relations:
        assert regression.degree(node) >= 2
