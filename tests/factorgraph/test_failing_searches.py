"""A search that fails at a dataset never decides what is known of it (T-EP 11): it is named, and the answer is right.

One of eight measurements of a Gaussian population names an ``optimiser`` that breaks off, or returns what is no sample of
anything. The posterior of mean and scatter is that of quadrature all the same.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from factorgraph.propagation.preparation import prepare
from factorgraph.propagation.sweep import initial_state, propose, take_step
from searches.errors import TargetError
from searches.samples import Samples
from searches.status import Status
from tests.factorgraph.propagation.test_joint import check, data, exact, graph
from tests.factorgraph.test_linked import Reading, chain
from tests.factorgraph.test_scatter import Measurement, Moments, Object, assert_close, midpoints

slow = pytest.mark.slow

NUM, BAD = 8, 3
_random = np.random.default_rng(2)
ERRORS = _random.uniform(0.5, 2.0, NUM)
Y = _random.normal(4.0, 1.5, NUM) + ERRORS * _random.standard_normal(NUM)


class CalledMeasurement(Measurement):
    """In plain Python, so that JAX cannot trace it."""

    def log_likelihood_function(self, instance):
        residual = (self.y - float(instance.x)) / self.error
        return -0.5 * residual**2 - float(np.log(self.error * np.sqrt(2.0 * np.pi)))


LANES = [pytest.param(Measurement, id="traced"), pytest.param(CalledMeasurement, id="called")]


class Plant:
    """An optimiser: ``calls`` are what its first, second, ... call do with a target, the last for all further calls."""

    def __init__(self, *calls):
        self.calls = calls
        self.num = 0

    def explore(self, target, *, seed):
        call = self.calls[min(self.num, len(self.calls) - 1)]
        self.num += 1
        return call(target)


def sample(target, x, log_weight=0.0, status=Status.ok):
    log_weight = np.broadcast_to(log_weight, len(x)).astype(float)
    zeros = np.zeros(len(x))
    return Samples(
        x=x,
        parameters=x,
        log_likelihood=zeros,
        log_prior=zeros,
        log_weight=log_weight,
        names=target.names,
        diagnostics={"status": status},
    )


def around(place, width, **settings):
    """Two hundred draws about one place, whatever the target."""
    noise = np.random.default_rng(0).standard_normal

    def call(target):
        return sample(target, place + width * noise((200, target.num_parameters)), **settings)

    return call


def breaks_off(target):
    raise RuntimeError("no way down")


def works(target):
    return fg.LaplaceOptimiser().explore(target, seed=0)


PLANTS = {
    "at its start": (around(0.0, 0.0), "at one place"),
    "far away": (around(1e3, 0.0), "at one place"),
    "says that it failed": (around(5.0, 1e-3, status=Status.search_failed), "broke off"),
    "breaks off": (breaks_off, "RuntimeError: no way down"),
    "weights nan": (around(0.0, 1.0, log_weight=np.nan), "not finite"),
    "draws nan": (around(np.nan, 0.0), "not finite"),
    "one weight": (around(0.0, 1.0, log_weight=np.append(0.0, np.full(199, -12.0))), "1 effective draws"),
    "no draws": (lambda target: sample(target, np.zeros((0, target.num_parameters))), "no draws"),
    "nothing": (lambda target: None, "returned NoneType"),
}


def survey(optimiser, analysis=Measurement, errors=ERRORS, y=Y, rows=range(NUM)):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.HalfNormalPrior(3.0))
    factors = []
    for i in rows:
        model = fg.Model(Object)
        parent.add_drawn_variable(model.x)
        own = {"optimiser": optimiser} if i == BAD else {}
        factors.append(fg.AnalysisFactor(model, analysis(float(y[i]), float(errors[i])), name=f"d{i}", **own))
    return fg.FactorGraphModel(*factors, parent), [parent.mean, parent.sigma]


def solved(optimiser, *arguments, **settings):
    graph, variables = survey(optimiser, *arguments, **settings)
    return graph.optimise(seed=0), variables


def known(errors=ERRORS, y=Y, rows=range(NUM)):
    """Moments of mean and scatter, and log evidence."""
    mean, sigma = np.meshgrid(midpoints(-6.0, 14.0, 800), midpoints(0.0, 12.0, 600), indexing="ij")
    log_joint = stats.norm.logpdf(mean, 0.0, 10.0) + stats.halfnorm.logpdf(sigma, scale=3.0)
    log_joint += sum(stats.norm.logpdf(y[i], mean, np.hypot(sigma, errors[i])) for i in rows)
    weight = np.exp(log_joint - log_joint.max())
    log_evidence = log_joint.max() + np.log(weight.sum() * (20.0 / 800) * (12.0 / 600))
    weight /= weight.sum()
    found = np.array([np.sum(weight * mean), np.sum(weight * sigma)])
    scale = np.sqrt([np.sum(weight * (mean - found[0]) ** 2), np.sum(weight * (sigma - found[1]) ** 2)])
    return Moments(found, scale), log_evidence


def assert_right(result, variables, expected):
    assert_close(result, variables, expected[0], shift=0.03, spread=0.03)
    assert abs(result.log_evidence - expected[1]) < 0.02 + 3.0 * result.log_evidence_error


def assert_named(result, reason):
    assert {name: status for name, status in result.status.items() if status != Status.ok} == {
        f"d{BAD}": Status.search_failed
    }
    assert list(result.search_failures) == [f"d{BAD}"]
    assert f"d{BAD} ({result.search_failures[f'd{BAD}']})" in result.info
    assert reason in result.search_failures[f"d{BAD}"]


@pytest.mark.parametrize(
    ("plant", "analysis"),
    [(plant, Measurement) for plant in PLANTS]
    + [
        pytest.param(plant, CalledMeasurement, marks=[] if plant == "breaks off" else slow, id=f"{plant}, called")
        for plant in PLANTS
    ],
)
def test_a_search_that_fails_is_named_and_not_believed(plant, analysis):
    call, reason = PLANTS[plant]
    with pytest.warns(UserWarning, match=rf"(?s)optimiser failed on 1 dataset.*d{BAD} \("):
        result, variables = solved(Plant(call), analysis)
    assert_named(result, reason)
    assert_right(result, variables, known())


@pytest.mark.parametrize("analysis", LANES)
def test_a_later_failure_does_not_pass_for_the_first_success(analysis):
    """The first exploration, about the prior, works; the second, about the posterior, breaks off."""
    plant = Plant(works, breaks_off)
    with pytest.warns(UserWarning, match="no way down"):
        result, variables = solved(plant, analysis)
    assert plant.num > 1
    assert_named(result, "no way down")
    assert_right(result, variables, known())


def test_an_early_failure_is_forgotten_once_the_search_works():
    result, variables = solved(Plant(breaks_off, works))
    assert set(result.status.values()) == {Status.ok}
    assert result.search_failures == {}
    assert "FAILED" not in result.info
    assert_right(result, variables, known())


@pytest.mark.parametrize("analysis", LANES)
@pytest.mark.parametrize(
    ("place", "width"),
    [(3.0, 0.3), *(pytest.param(*pair, marks=slow) for pair in ((0.0, 1e-6), (5.0, 1e-3), (1e3, 1.0)))],
)
def test_a_search_that_does_not_know_that_it_failed(analysis, place, width):
    """Draws somewhere, said to be good. Of a broad likelihood the reference's own points make up for it; of one as sharp
    as 1e-4 they do not, and then it shows."""
    result, variables = solved(Plant(around(place, width)), analysis)
    assert_right(result, variables, known())
    sharp = np.where(np.arange(NUM) == BAD, 1e-4, ERRORS)
    with pytest.warns(UserWarning, match="few of the points drawn about its samples count"):
        result, variables = solved(Plant(around(place, width)), analysis, errors=sharp)
    assert_named(result, "few of the points")
    assert_right(result, variables, known(errors=sharp))
    (x,) = result[f"d{BAD}"].local_variables
    assert result.mean_field.mean[x] == pytest.approx(Y[BAD], abs=2e-5)
    assert result.mean_field.scale[x] == pytest.approx(1e-4, rel=0.02)


def test_where_there_is_no_likelihood_either_the_dataset_is_left_out():
    """The search is not to blame alone: nan data."""
    y = np.where(np.arange(NUM) == BAD, np.nan, Y)
    with pytest.warns(UserWarning, match=rf"left out: d{BAD}"):
        result, variables = solved(Plant(breaks_off), y=y)
    assert result.status[f"d{BAD}"] == Status.quarantined
    rest = [i for i in range(NUM) if i != BAD]
    assert_right(result, variables, known(rows=rest))


def test_what_no_dataset_can_be_searched_with_is_an_error():
    with pytest.raises(TargetError, match="JAX"):
        solved(fg.NUTS(), CalledMeasurement)


@slow
@pytest.mark.parametrize("call", [around(0.0, 0.0), breaks_off], ids=["at its start", "breaks off"])
def test_where_the_likelihood_reads_a_shared_variable(call):
    """Every search of the graph fails."""
    y, w = data(0.3, 5)
    asked, variables = graph(y, w, 0.3)
    with pytest.warns(UserWarning, match="optimiser failed on 6 dataset"):
        result = asked.optimise(seed=0, optimiser=Plant(call))
    assert set(result.status.values()) == {Status.search_failed}
    check(result, variables, exact(y, w, 0.3))


def test_the_contracted_graph_names_it_too():
    """Log f of the dataset is that of the same graph without a search."""
    fine, spoiled = (survey(optimiser)[0].contracted for optimiser in (None, Plant(breaks_off)))
    with pytest.warns(UserWarning, match=rf"explored by importance sampling.*d{BAD} \(RuntimeError: no way down"):
        target = spoiled.target
    assert spoiled.left_out == ()
    x = np.array([[0.3, 0.1], [0.4, -0.4], [0.5, 0.0]])
    differences = target.log_likelihoods(x) - fine.target.log_likelihoods(x)
    assert np.max(np.abs(differences)) < 0.02


# --- the update itself ---


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_an_integral_that_fails_later_leaves_the_message(value, monkeypatch):
    """Log f of one dataset is lost once its site is known: the site stays, and the status says that it was not updated;
    when log f is back, so is the fixed point."""
    asked, _ = survey(None)
    with jax.enable_x64(True):
        contracted, start = prepare(asked.shared, asked.plates, asked.lanes, 0)
        state = initial_state(contracted, start)
        for _ in range(30):
            state, _ = take_step(contracted, state, propose(contracted, state), 1.0)
        (index,) = (i for i, plate in enumerate(contracted.plates) if plate.plate.signature.analyses)
        plate = contracted.plates[index]
        log_factors = plate.log_factors

        def lost(*arguments):
            values, errors = log_factors(*arguments)
            values = np.array(values)
            values[BAD] = value
            return values, errors

        monkeypatch.setattr(plate, "log_factors", lost)
        after = state
        for _ in range(3):
            after, _ = take_step(contracted, after, propose(contracted, after), 1.0)
        monkeypatch.undo()
        back, _ = take_step(contracted, after, propose(contracted, after), 1.0)
    assert after.status[index][BAD] == Status.site_rejected
    others = np.delete(after.status[index], BAD)
    assert np.all((others == Status.ok) | (others == Status.cavity_improper))
    np.testing.assert_array_equal(after.sites[index][BAD], state.sites[index][BAD])
    np.testing.assert_allclose(after.mean, state.mean, atol=1e-7)
    np.testing.assert_allclose(after.covariance, state.covariance, atol=1e-7)
    assert after.log_evidence == pytest.approx(state.log_evidence, abs=1e-6)
    assert back.status[index][BAD] in (Status.ok, Status.cavity_improper)


@slow
@pytest.mark.parametrize("fails", [True, False])
def test_in_a_chain(fails):
    """Thirty linked states; the reading of one is of something that scatters about it, and is searched for."""
    y = np.cumsum(np.random.default_rng(3).standard_normal(30))
    states, factors = chain(y, Reading, 0.7)
    readings = [i for i, factor in enumerate(factors) if isinstance(factor, fg.AnalysisFactor)]
    about = fg.HierarchicalFactor(fg.GaussianPrior, mean=states[11], sigma=0.5)
    model = fg.Model(Object)
    about.add_drawn_variable(model.x)
    optimiser = Plant(breaks_off if fails else works)
    factors[readings[11]] = fg.AnalysisFactor(model, Reading(y[11]), optimiser=optimiser, name="hidden")
    graph = fg.FactorGraphModel(*factors, about)
    if fails:
        with pytest.warns(UserWarning, match=r"optimiser failed on 1 dataset.*hidden \(RuntimeError"):
            result = graph.optimise(seed=0)
    else:
        result = graph.optimise(seed=0)
    assert result.status["hidden"] == (Status.search_failed if fails else Status.ok)
    assert {result.status[name] for name in result.status if name != "hidden"} == {Status.ok}
    steps = np.diff(np.eye(30), axis=0)
    noise = np.where(np.arange(30) == 11, 1.0 + 0.5**2, 1.0)
    precision = steps.T @ steps / 0.7**2 + np.diag(1.0 / noise)
    precision[0, 0] += 1.0 / 3.0**2
    covariance = np.linalg.inv(precision)
    mean, scale = covariance @ (y / noise), np.sqrt(np.diag(covariance))
    for t in (0, 10, 11, 29):
        assert abs(result.mean_field.mean[states[t]] - mean[t]) < 0.02 * scale[t]
        assert result.mean_field.scale[states[t]] == pytest.approx(scale[t], rel=0.02)
