"""Lines end at outlines and go round what is in the way."""

import numpy as np
import pytest

from factorgraph.drawing.glyphs import Glyph
from factorgraph.drawing.routing import Obstacle, Terminal, crossings, route

SQUARE = Glyph(shape="factor", width=0.2, height=0.2, text="", text_size=8.0)
WIDE = (-5.0, 5.0)


def ends(x0, y0, x1, y1):
    return (Terminal(x=x0, y=y0, key="a", glyph=SQUARE), Terminal(x=x1, y=y1, key="b", glyph=SQUARE), False)


def test_a_free_line_is_straight_and_stops_at_the_outline():
    (curve,) = route([ends(0.0, 0.0, 0.0, -2.0)], [], sides=WIDE)
    np.testing.assert_allclose(curve.points, [[0.0, -0.1], [0.0, -1.0], [0.0, -1.9]], atol=1e-5)


def test_a_blocked_line_goes_round():
    block = Obstacle(rectangle=(-0.1, -1.1, 0.1, -0.9), keys=frozenset(["c"]), weight=1.0)
    (curve,) = route([ends(0.0, 0.0, 0.0, -2.0)], [block], sides=WIDE)
    x, y = curve.sampled().T
    assert not np.any((abs(x) < 0.1) & (abs(y + 1.0) < 0.1))


def test_two_lines_between_the_same_ends_part():
    first, second = route([ends(0.0, 0.0, 0.0, -2.0)] * 2, [], sides=WIDE)
    assert first.points[1, 0] * second.points[1, 0] < 0


@pytest.mark.parametrize(("x1", "expected"), [(0.0, 1), (2.0, 0)])
def test_crossings(x1, expected):
    other = (Terminal(x=1.0, y=0.0, key="c"), Terminal(x=x1, y=-1.0, key="d"), False)
    line = (Terminal(x=0.1, y=0.0, key="a"), Terminal(x=0.9, y=-1.0, key="b"), False)
    assert crossings(route([line, other], [], sides=WIDE)) == expected
