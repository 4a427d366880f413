"""The files, and the ink as matplotlib's own renderer sees it."""

import subprocess
import sys
import time
from itertools import combinations

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from factorgraph.drawing import collapse, draw, layout
from factorgraph.drawing.picture import figure
from factorgraph.errors import GraphError
from tests.factorgraph.drawing.graphs import STANDARD, STRANGE, Sketch, population


@pytest.mark.parametrize(("suffix", "start"), [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_every_format_is_written_and_reproducible(tmp_path, suffix, start):
    first, second = (draw(population(5), tmp_path / f"{k}{suffix}", title="A & B", priors=True) for k in "ab")
    content = first.read_bytes()
    assert content.startswith(start)
    assert len(content) > 5000
    assert content == second.read_bytes()


def test_pdf_text_is_embedded_as_truetype(tmp_path):
    assert b"/FontType 3" not in draw(population(5), tmp_path / "graph.pdf").read_bytes()


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(GraphError, match=r"\.pdf, \.svg, \.png"):
        draw(population(5), tmp_path / "graph.jpg")


@pytest.mark.parametrize("width", [3.4, 7.1])
@pytest.mark.parametrize("name", STANDARD)
def test_no_two_texts_overlap(name, width):
    picture = figure(layout(collapse(STANDARD[name]), width=width, priors=True), title="Title")
    picture.set_dpi(200)
    renderer = FigureCanvasAgg(picture).get_renderer()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in picture.texts if t.get_text()]
    assert len(boxes) > 3
    for (a, box_a), (b, box_b) in combinations(boxes, 2):
        overlap = [min(box_a.max[k], box_b.max[k]) - max(box_a.min[k], box_b.min[k]) for k in (0, 1)]
        assert min(overlap) < 1.0, (a, b)
    outside = [text for text, box in boxes if min(box.min) < -1 or any(box.max > picture.bbox.max + 1)]
    assert not outside


def test_counts_and_strange_names_are_printed_as_they_are():
    texts = [t.get_text() for t in figure(layout(collapse(STANDARD["population"]))).texts]
    assert "$N = 5{,}000$" in texts
    texts = " ".join(t.get_text() for t in figure(layout(collapse(STANDARD["strange_names"]))).texts)
    assert all(name.replace("$", r"\$") in texts for name in STRANGE if len(name) < 13 and "\n" not in name)


def test_five_thousand_datasets_take_under_a_second(tmp_path):
    draw(population(2), tmp_path / "warm.png")
    start = time.process_time()
    draw(STANDARD["population"], tmp_path / "graph.png")
    assert time.process_time() - start < 1.0


def test_latex_that_mathtext_does_not_know_is_named(tmp_path):
    s = Sketch()
    s.analysis("d", [s.variable("mu", latex=r"\nosuchcommand")])
    with pytest.raises(GraphError, match=r"nosuchcommand.*'mu'"):
        draw(s.graph, tmp_path / "graph.png")


def test_settings_are_left_alone_and_pyplot_is_not_loaded(tmp_path):
    before = dict(matplotlib.rcParams)
    draw(population(5), tmp_path / "graph.pdf")
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys, networkx, factorgraph.drawing as d; assert 'matplotlib' not in sys.modules\n"
        "g = networkx.Graph(); g.add_node(0, kind='variable', label='x')\n"
        f"d.draw(g, {str(tmp_path / 'x.png')!r}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
