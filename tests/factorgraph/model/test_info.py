"""`info` as the documentation prints it, apart from the numbers and the names of operands."""

from __future__ import annotations

import re

import numpy as np

from factorgraph.ex import Gaussian
from factorgraph.model.array import Array
from factorgraph.model.collection import Collection
from factorgraph.model.info import info_of
from factorgraph.model.model import Model
from factorgraph.model.prior import GaussianPrior, LogUniformPrior, UniformPrior
from tests.factorgraph.model.profiles import Galaxy, LightDeVaucouleurs

# Printed by the multiple-datasets cookbook; its text has lost the indentation.
THREE_DATASETS = """
Total Free Parameters = 7
model GlobalPriorModel (N=7)
0 - 2 Gaussian (N=3)
0 - 2
centre UniformPrior [3], lower_limit = 0.0, upper_limit = 100.0
0
normalization LogUniformPrior [6], lower_limit = 0.01, upper_limit = 100.0
sigma GaussianPrior [7], mean = 10.0, sigma = 5.0
1
normalization LogUniformPrior [8], lower_limit = 0.01, upper_limit = 100.0
sigma GaussianPrior [9], mean = 10.0, sigma = 5.0
2
normalization LogUniformPrior [10], lower_limit = 0.01, upper_limit = 100.0
sigma GaussianPrior [11], mean = 10.0, sigma = 5.0
"""

RELATION = """
Total Free Parameters = 4
model GlobalPriorModel (N=4)
0 - 2 Collection (N=4)
gaussian Gaussian (N=4)
sigma SumPrior (N=2)
left MultiplePrior (N=1)
0 - 2
gaussian
centre UniformPrior [12], lower_limit = 0.0, upper_limit = 100.0
normalization LogUniformPrior [13], lower_limit = 1e-06, upper_limit = 1000000.0
sigma
left
sigma_m UniformPrior [15], lower_limit = -10.0, upper_limit = 10.0
sigma_c UniformPrior [16], lower_limit = -10.0, upper_limit = 10.0
0
gaussian
sigma
left
right 1.0
1
gaussian
sigma
left
right 2.0
2
gaussian
sigma
left
right 3.0
"""


def words_of(text: str) -> list[list[str]]:
    """Lines as words, without indentation, empty lines and the numbers of variables (each replaced by its rank)."""
    ranks: dict[str, str] = {}
    lines = [line.split() for line in text.splitlines() if line.strip()]

    def ranked(word: str) -> str:
        return ranks.setdefault(word, f"[{len(ranks)}]") + "," if re.fullmatch(r"\[\d+\],", word) else word

    return [[ranked(word) for word in line] for line in lines]


def test_three_datasets_that_share_a_centre():
    model = Model(Gaussian)
    model.centre = UniformPrior(lower_limit=0.0, upper_limit=100.0)
    copies = []
    for _ in range(3):
        twin = model.copy()
        twin.normalization = LogUniformPrior(lower_limit=1e-2, upper_limit=1e2)
        twin.sigma = GaussianPrior(mean=10.0, sigma=5.0, lower_limit=0.0, upper_limit=np.inf)
        copies.append(twin)
    text = info_of(copies, title="GlobalPriorModel")
    assert words_of(text) == words_of(THREE_DATASETS)
    lines = text.splitlines()
    assert lines[1] == lines[4] == ""
    assert lines[2].index("GlobalPriorModel") == lines[3].index("Gaussian") == lines[6].index("UniformPrior") == 80
    assert lines[6].startswith("    centre ")


def test_a_relation_between_datasets():
    model = Collection(gaussian=Model(Gaussian))
    sigma_m = UniformPrior(lower_limit=-10.0, upper_limit=10.0, name="sigma_m")
    sigma_c = UniformPrior(lower_limit=-10.0, upper_limit=10.0, name="sigma_c")
    copies = []
    for x in [1.0, 2.0, 3.0]:
        twin = model.copy()
        twin.gaussian.sigma = (sigma_m * x) + sigma_c
        copies.append(twin)
    assert words_of(info_of(copies, title="GlobalPriorModel")) == words_of(RELATION)


def test_sharing_shows_in_the_numbers():
    one, two = Model(Gaussian), Model(Gaussian)
    two.centre = one.centre
    numbers = re.findall(r"\[(\d+)\]", Collection(one=one, two=two).info)
    assert numbers == ["0", "1", "2", "0", "3", "4"]


def test_what_else_is_printed():
    model = Model(Galaxy, redshift=0.5, bulge=LightDeVaucouleurs)
    model.bulge.centre_0 = 1.0
    lines = [" ".join(line.split()) for line in Collection(galaxy=model, a=Array(2)).info.splitlines()]
    assert "Total Free Parameters = 7" in lines
    assert "model Collection (N=7)" in lines
    assert "bulge LightDeVaucouleurs (N=5)" in lines
    assert "centre TuplePrior (N=1)" in lines
    assert "centre_0 1.0" in lines
    assert "redshift 0.5" in lines
    assert "centre_1 Variable [0], no prior" in lines
    assert "a Array (N=2)" in lines


def test_only_consecutive_equal_items_are_merged():
    prior = UniformPrior(0.0, 1.0)
    text = Collection([prior, prior, 2.0, prior]).info
    assert [line.split("  ")[0] for line in text.splitlines()[4:]] == ["0 - 1", "2", "3"]


def test_a_thousand_items_merge():
    model = Model(Gaussian)
    assert len(info_of([model.copy() for _ in range(1000)]).splitlines()) == 9
