"""All cases by name; those of `QUICK` take a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cases.binomial import baseball, seeds
from tests.cases.case import Case
from tests.cases.ladder import sh0es, sh0es_offsets, sh0es_scatter
from tests.cases.line import line, line_with_outliers
from tests.cases.pantheon import pantheon_lcdm, pantheon_statistical, pantheon_wcdm
from tests.cases.planets import hd_164922
from tests.cases.radon import (
    radon_minnesota,
    radon_minnesota_slopes,
    radon_minnesota_uranium,
    radon_states,
    radon_states_pooled,
)
from tests.cases.schools import eight_schools
from tests.cases.slacs import slacs_dynamics, slacs_imaging, slacs_trend
from tests.cases.variable_stars import rr_lyrae

CASES: dict[str, Callable[[Path], Case]] = {
    case.__name__: case
    for case in (
        eight_schools,
        radon_minnesota,
        radon_minnesota_uranium,
        radon_minnesota_slopes,
        radon_states,
        radon_states_pooled,
        seeds,
        baseball,
        slacs_imaging,
        slacs_trend,
        slacs_dynamics,
        sh0es,
        sh0es_offsets,
        sh0es_scatter,
        rr_lyrae,
        pantheon_lcdm,
        pantheon_statistical,
        pantheon_wcdm,
        hd_164922,
        line,
        line_with_outliers,
    )
}
