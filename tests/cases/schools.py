"""Eight schools (Rubin 1981): theta_j ~ N(mu, tau), estimated with known errors; mu ~ N(0, 5), tau ~ HalfCauchy(5).

Effects of coaching are in points of the test. The heavy tail of tau leaves its moments without meaning.
"""

from __future__ import annotations

from pathlib import Path

import factorgraph as fg
from tests.cases.case import Case, known, reference
from tests.factorgraph.results.schools import exact, schools


def eight_schools(data: Path) -> Case:
    asked = schools()
    shared = {"mu": asked.parent.mean, "tau": asked.parent.sigma}
    private = {f"theta[{i + 1}]": model.theta for i, model in enumerate(asked.models)}
    answer = reference(data / "posteriordb" / "eight_schools-eight_schools_noncentered" / "reference_exact.json")
    return Case(
        title="eight schools",
        graph=asked.graph,
        known=known(answer, shared, private, by_quantiles=["tau"]),
        log_evidence=exact().log_evidence,
        search=fg.DynestyStatic(nlive=500),
        contracted=False,
    )
