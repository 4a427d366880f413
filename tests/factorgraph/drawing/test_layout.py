"""Nothing overlaps, everything is on the page, parents stand above data."""

from itertools import combinations

import pytest

from factorgraph.drawing import collapse, layout
from tests.factorgraph.drawing.graphs import STANDARD, Sketch


@pytest.mark.parametrize("width", [None, 3.4, 7.1])
@pytest.mark.parametrize("name", STANDARD)
def test_glyphs_are_apart_and_on_the_page(name, width):
    page = layout(collapse(STANDARD[name]), width=width, priors=True)
    boxes = [
        (x - g.left, y - g.down, x + g.right, y + g.up)
        for (x, y), g in ((p, page.glyphs[k]) for k, p in page.places.items())
    ]
    for a, b in combinations(boxes, 2):
        assert min(a[2], b[2]) - max(a[0], b[0]) < 1e-9 or min(a[3], b[3]) - max(a[1], b[1]) < 1e-9
    right, top = page.width / page.scale, page.height / page.scale
    assert all(b[0] > 0 and b[1] > 0 and b[2] < right and b[3] < top for b in boxes)
    if width:
        assert page.width == width
    if name in ("population", "shared_centre", "scaling_relation", "two_plates", "many_shared"):
        assert page.scale > 0.9


def test_plates_hold_exactly_their_members():
    page = layout(collapse(STANDARD["nested"]))
    for frame in (f for f in page.frames if f.group.kind == "plate"):
        inside = {k for k, (x, y) in page.places.items() if frame.x0 < x < frame.x1 and frame.y0 < y < frame.y1}
        assert inside == set(frame.group.leaves())


def test_parents_stand_above_what_they_generate():
    scene = collapse(STANDARD["population"])
    page = layout(scene)
    for edge in scene.edges:
        assert page.places[edge.source][1] > page.places[edge.target][1]


def test_many_alike_variables_share_one_line():
    page = layout(collapse(STANDARD["many_shared"]))
    assert len(page.curves) == 3  # tray - likelihood, x_i - likelihood, likelihood - data
    assert sum(f.group.kind == "tray" for f in page.frames) == 1


def test_an_empty_graph_and_a_lone_variable_have_a_page():
    s = Sketch()
    assert layout(collapse(s.graph)).height > 0
    s.variable("alone")
    s.variable("apart")
    assert len(layout(collapse(s.graph)).places) == 2
