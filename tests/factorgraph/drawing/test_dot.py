"""DOT text: clusters for plates, and nothing a name can break."""

import html
import re

import pytest

from factorgraph.drawing import collapse, to_dot
from tests.factorgraph.drawing.graphs import STANDARD, nested, population, strange_names


@pytest.mark.parametrize("name", STANDARD)
def test_every_node_and_line_is_there(name):
    scene, source = collapse(STANDARD[name]), to_dot(STANDARD[name]).source
    assert len(re.findall(r"^\s*n\d+ \[", source, re.M)) == len(scene.nodes)
    assert len(re.findall(r"^\s*n\d+ -> n\d+ ", source, re.M)) == len(scene.edges)
    assert source.count("subgraph cluster_") == len(scene.plates)


def test_plates_nest_and_count():
    _, outer, inner = re.split(r"subgraph cluster_\d \{", to_dot(nested()).source)
    assert "cluster" in outer
    assert "}" not in outer
    assert "galaxy" in inner
    assert "<i>N</i> = 5,000" in to_dot(STANDARD["population"]).source


def test_names_are_escaped():
    source = re.sub(r"</?(i|sub)>", "", to_dot(strange_names(), title='<"title">', priors=True).source)
    labels = re.findall(r"label=<(.*?)>(?=[ \]\n])", source)
    assert labels
    for label in labels:
        assert not re.search(r'[<>"]|&(?!(lt|gt|amp|quot|#x27);)', label)
    assert any(html.unescape(label) == '<b>&"q"' for label in labels)


def test_priors_are_added_on_request():
    assert "Uniform(0, 30)" in to_dot(population(5), priors=True).source
    assert "Uniform(0, 30)" not in to_dot(population(5)).source
