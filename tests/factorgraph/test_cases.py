"""Published data sets, by expectation propagation and by a global search, against reference posteriors.

Bounds, of shared and private variables alike: means within 0.1 standard deviations of the reference, standard
deviations within 7 % (quartiles and widths where a variance is infinite or mass reaches zero); log evidences within
0.05 nats or four of their own standard errors. Searches have enough draws for the same bounds. And no answer may be
wrong without a warning. `docs/accuracy.md` has the numbers.
"""

from __future__ import annotations

import math

import pytest

from tests.cases.catalogue import CASES
from tests.cases.measurement import Row, propagate, search

QUICK_BY_PROPAGATION = {"eight_schools", "line", "line_with_outliers", "slacs_imaging", "slacs_trend", "slacs_dynamics"}
QUICK_BY_SEARCH = {"eight_schools", "line", "line_with_outliers"}
FAILING: dict[tuple[str, str], str] = {}  # (case, method) -> why
SEEDS = {"pantheon_wcdm": range(3)}  # one may be within the bounds by luck


def marked(method: str, quick: set[str]) -> list:
    """Every case, long unless in ``quick``, and expected to fail where it is known to."""
    parameters = []
    for name in CASES:
        reason = FAILING.get((name, method))
        marks = [] if name in quick else [pytest.mark.long]
        marks += [pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError)] if reason else []
        parameters.append(pytest.param(name, marks=marks))
    return parameters


def check(row: Row) -> None:
    assert "unnoticed" not in row.verdict, f"{row.shared}, k-hat {row.k_hat:.2f}"
    assert row.claims_to_be_good, row.concern
    assert row.shared is not None
    assert row.shared.is_small, row.shared
    assert row.private is None or row.private.is_small, row.private
    if row.exact_log_evidence is not None:
        error = max(4.0 * row.log_evidence_error, 0.05)
        assert row.log_evidence == pytest.approx(row.exact_log_evidence, abs=error)


@pytest.mark.parametrize("name", marked("EP", QUICK_BY_PROPAGATION))
def test_propagation(shared, name):
    for seed in SEEDS.get(name, range(1)):
        check(propagate(CASES[name](shared / "data"), seed=seed))


@pytest.mark.parametrize("name", marked("search", QUICK_BY_SEARCH))
def test_search(shared, name):
    check(search(CASES[name](shared / "data")))


@pytest.mark.parametrize("name", ["line", "pantheon_lcdm"])
def test_no_evidence_under_flat_priors(shared, name):
    assert math.isnan(CASES[name](shared / "data").propagated().log_evidence)
