"""Which unknowns are shared and which are local, who is drawn from whom, and which graphs are refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from factorgraph.analysis import Analysis
from factorgraph.errors import GraphError
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.graph.terms import terms_of, variables_in
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model
from factorgraph.model.prior import FlatPrior, GaussianPrior, HalfCauchyPrior, TruncatedGaussianPrior, UniformPrior


class Profile:
    def __init__(self, centre=0.0, width=1.0):
        self.centre = centre
        self.width = width


class Image(Analysis):
    def log_likelihood_function(self, instance):
        return -0.5 * instance.centre**2


def profile(**priors):
    return Model(Profile, **{"centre": GaussianPrior(0.0, 1.0), "width": GaussianPrior(1.0, 0.1)} | priors)


def population(mean, *drawn, sigma=1.0, distribution=GaussianPrior):
    parent = HierarchicalFactor(distribution, mean=mean, sigma=sigma)
    for variable in drawn:
        parent.add_drawn_variable(variable)
    return parent


def dataset(model, **options):
    return AnalysisFactor(model, Image(), **options)


def test_what_one_dataset_reads_is_local():
    centre = GaussianPrior(0.0, 1.0)
    models = [profile(centre=centre) for _ in range(3)]
    terms = terms_of([dataset(m) for m in models], [])
    assert terms.shared == (centre,)
    assert [term.local for term in terms.terms] == [(m.width,) for m in models]
    assert all(term.draws == () for term in terms.terms)
    assert terms.draws == {}


def test_nothing_shared():
    models = [profile() for _ in range(2)]
    terms = terms_of([dataset(m) for m in models], [])
    assert terms.shared == ()
    assert [term.local for term in terms.terms] == [(m.centre, m.width) for m in models]


def test_a_population_shares_its_parameters_alone():
    mean, sigma = GaussianPrior(0.0, 5.0), UniformPrior(0.0, 3.0)
    models = [profile() for _ in range(3)]
    parent = population(mean, *(m.centre for m in models), sigma=sigma)
    terms = terms_of([dataset(m) for m in models], [parent])
    assert terms.shared == (mean, sigma)
    assert [term.local for term in terms.terms] == [(m.centre, m.width) for m in models]
    for term, model in zip(terms.terms, models):
        (draw,) = term.draws
        assert (draw.variable, draw.parent) == (model.centre, parent)
        assert set(variables_in(draw.parameters)) == {mean, sigma}


@pytest.mark.parametrize("prior", [HalfCauchyPrior(2.0), FlatPrior(0.0, np.inf)], ids=["heavy tails", "flat"])
def test_a_prior_that_is_not_whitened_is_a_term(prior):
    models = [profile() for _ in range(2)]
    parent = population(GaussianPrior(0.0, 1.0), *(m.centre for m in models), sigma=prior)
    last = terms_of([dataset(m) for m in models], [parent]).terms[-1]
    assert last.factors == last.local == ()
    assert [draw.variable for draw in last.draws] == [prior]
    assert last.draws[0].parent is prior


def test_a_local_prior_that_is_not_whitened_stays_inside():
    model = profile(width=FlatPrior(0.0, 5.0))
    (term,) = terms_of([dataset(model)], []).terms
    assert [draw.variable for draw in term.draws] == [model.width]


def test_clusters_in_a_galaxy():
    """A drawn variable that is a parent's parameter is shared, unless all that is drawn from it is in its own dataset."""
    root, clusters = GaussianPrior(0.0, 5.0), [GaussianPrior(0.0, 1.0) for _ in range(2)]
    models = [profile() for _ in range(4)]
    branches = [population(c, *(m.centre for m in models[2 * i : 2 * i + 2])) for i, c in enumerate(clusters)]
    terms = terms_of([dataset(m) for m in models], [*branches, population(root, *clusters)])
    assert set(terms.shared) == {root, *clusters}
    drawn = [term for term in terms.terms if not term.factors]
    assert {term.draws[0].variable for term in drawn} == set(clusters)


def test_a_parent_inside_one_dataset_is_local():
    model = profile()
    terms = terms_of([dataset(model)], [population(model.width, model.centre)])
    assert terms.shared == ()
    assert terms.terms[0].local == (model.centre, model.width)


def test_a_chain_stays_shared():
    models = [profile() for _ in range(4)]
    parents = [population(before.centre, after.centre) for before, after in zip(models, models[1:])]
    terms = terms_of([dataset(m) for m in models], parents)
    assert set(terms.shared) == {m.centre for m in models[:-1]}
    assert models[-1].centre in terms.terms[3].local


def test_factors_of_one_dataset_are_one_term():
    image = profile()
    spectrum = profile(centre=image.centre)
    named = [dataset(image, dataset="M31"), dataset(spectrum, dataset="M31"), dataset(profile(), name="M33")]
    terms = terms_of(named, [])
    assert [term.name for term in terms.terms] == ["M31", "M33"]
    assert terms.shared == ()
    assert terms.terms[0].local == (image.centre, image.width, spectrum.width)
    assert terms.terms[0].factors == tuple(named[:2])


def test_factors_that_read_one_drawn_variable_are_one_term():
    mean = GaussianPrior(0.0, 5.0)
    pairs = [(profile(), profile()) for _ in range(2)]
    for first, second in pairs:
        second.centre = first.centre
    factors = [dataset(m) for pair in pairs for m in pair]
    terms = terms_of(factors, [population(mean, *(first.centre for first, _ in pairs))])
    assert terms.shared == (mean,)
    assert [len(term.factors) for term in terms.terms] == [2, 2]


def test_a_drawn_variable_that_many_read_is_shared():
    mean, centre = GaussianPrior(0.0, 5.0), GaussianPrior(0.0, 1.0)
    terms = terms_of([dataset(profile(centre=centre)) for _ in range(30)], [population(mean, centre)])
    assert set(terms.shared) == {mean, centre}
    assert sum(bool(term.factors) for term in terms.terms) == 30


def test_relations_share_their_operands():
    slope, models = GaussianPrior(1.0, 1.0), [profile() for _ in range(2)]
    for number, model in enumerate(models):
        model.centre = slope * float(number + 1)
    terms = terms_of([dataset(m) for m in models], [])
    assert terms.shared == (slope,)
    assert [term.local for term in terms.terms] == [(m.width,) for m in models]


def test_order_of_first_appearance():
    a, b = GaussianPrior(0.0, 1.0), GaussianPrior(0.0, 2.0)
    models = [profile(centre=b, width=a) for _ in range(2)]
    assert terms_of([dataset(m) for m in models], []).shared == (b, a)


def test_names_that_clash():
    with pytest.raises(GraphError, match="Two AnalysisFactors are named 'one'"):
        terms_of([dataset(profile(), name="one"), dataset(profile(), name="one")], [])


def test_drawn_twice():
    model = profile()
    with pytest.raises(GraphError, match="drawn from two parents"):
        terms_of([dataset(model)], [population(0.0, model.centre), population(1.0, model.centre)])


def test_read_by_nobody():
    with pytest.raises(GraphError, match="read by no factor"):
        terms_of([dataset(profile())], [population(0.0, GaussianPrior(0.0, 1.0, name="lonely"))])
    with pytest.raises(GraphError, match="lonely"):
        terms_of([dataset(profile())], [population(0.0, GaussianPrior(0.0, 1.0, name="lonely"))])


def test_unset_variables_are_all_listed():
    with pytest.raises(GraphError, match=r"2 variable\(s\) have no prior.*centre, width"):
        terms_of([AnalysisFactor(Model(Profile), Image())], [])
    unset = Model(Profile)
    with pytest.raises(GraphError, match="1 variable.*width"):
        terms_of([AnalysisFactor(unset, Image())], [population(0.0, unset.centre)])


def test_lost_limits_are_said_aloud():
    model = profile(centre=UniformPrior(0.0, 1.0))
    with pytest.warns(UserWarning, match="had a prior with limits"):
        terms_of([dataset(model)], [population(0.0, model.centre)])
    limited = HierarchicalFactor(TruncatedGaussianPrior, mean=0.5, sigma=1.0, lower_limit=0.0, upper_limit=1.0)
    limited.add_drawn_variable(model.centre)
    terms_of([dataset(model)], [limited])


def test_limits_that_nobody_chose_are_lost_silently():
    """The priors that a class declares for its models are defaults."""
    declared = type("Declared", (Profile,), {"priors": {"centre": UniformPrior(0.0, 1.0), "width": 1.0}})
    model = Model(declared)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        terms_of([dataset(model)], [population(0.0, model.centre)])


def test_variables_in_any_tree():
    a, b = GaussianPrior(0.0, 1.0), GaussianPrior(0.0, 1.0)
    assert set(variables_in(Collection(first=a, second=a + b))) == {a, b}
