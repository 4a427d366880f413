"""A declared plate is the loop of datasets that a user would have written, and costs less."""

from __future__ import annotations

import functools
import time

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import factorgraph as fg

N = 12
LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


class Pair:
    def __init__(self, u=0.0, v=0.0):
        self.u, self.v = u, v


class Measured(fg.Analysis):
    def __init__(self, a, b, error=0.5):
        self.a, self.b, self.error = a, b, error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.a - instance.u) ** 2 + (self.b - instance.v) ** 2) / self.error**2


class Level:
    def __init__(self, level=0.0):
        self.level = level


class Series(fg.Analysis):
    """Repeated measurements of a level, those where ``mask`` says so."""

    def __init__(self, y, error, mask):
        self.y, self.error, self.mask = y, error, mask

    def log_likelihood_function(self, instance):
        terms = -0.5 * ((self.y - instance.level) / self.error) ** 2 - jnp.log(self.error) - LOG_SQRT_2PI
        return jnp.sum(jnp.where(self.mask, terms, 0.0))


class Whole(fg.Analysis):
    """The same without padding."""

    def __init__(self, y, error):
        self.y, self.error = y, error

    def log_likelihood_function(self, instance):
        return jnp.sum(-0.5 * ((self.y - instance.level) / self.error) ** 2 - jnp.log(self.error) - LOG_SQRT_2PI)


def numbers(seed=0, num=N):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=num)
    return x, 0.5 + 0.8 * x + rng.normal(size=num), rng.normal(size=num)


def gaussian_parent(name=None):
    return fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 2.0), sigma=fg.HalfNormalPrior(1.0), name=name
    )


def assert_same_plates(declared, loop):
    """Equal numbers in equal programs: what is solved is bitwise the same."""
    assert [plate.size for plate in declared.plates] == [plate.size for plate in loop.plates]
    for ours, theirs in zip(declared.plates, loop.plates, strict=True):
        assert ours.signature == theirs.signature
        np.testing.assert_array_equal(ours.shared_index, theirs.shared_index)
        for a, b in zip(ours.arrays.constants, theirs.arrays.constants, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        np.testing.assert_array_equal(ours.arrays.shared, theirs.arrays.shared)
        np.testing.assert_array_equal(ours.arrays.local, theirs.arrays.local)
        np.testing.assert_array_equal(ours.fingerprints(), theirs.fingerprints())


# --- the same as a loop ---


def test_two_populations_with_a_relation_and_a_covariate():
    x, a, b = numbers()
    shared = [fg.GaussianPrior(0.0, 2.0, name=n) for n in ("alpha", "beta", "slope")]
    scatter = [fg.HalfNormalPrior(1.0, name=n) for n in ("s", "t")]
    alpha, beta, slope = shared

    model = fg.Model(Pair)
    plate = fg.Plate(model, Measured, {"a": a, "b": b}, covariates={"x": x})
    first = fg.HierarchicalFactor(fg.GaussianPrior, mean=alpha + beta * plate["x"], sigma=scatter[0])
    second = fg.HierarchicalFactor(fg.GaussianPrior, mean=slope * model.u, sigma=scatter[1])
    declared = fg.FactorGraphModel(plate, first.over(model.u), second.over(model.v))

    factors, parents = [], []
    for i in range(N):
        own = fg.Model(Pair)
        factors.append(fg.AnalysisFactor(own, Measured(float(a[i]), float(b[i]))))
        for mean, sigma, drawn in (
            (alpha + beta * float(x[i]), scatter[0], own.u),
            (slope * own.u, scatter[1], own.v),
        ):
            parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=mean, sigma=sigma))
            parents[-1].add_drawn_variable(drawn)
    loop = fg.FactorGraphModel(*factors, *parents)

    assert_same_plates(declared, loop)
    assert declared.global_prior_model.prior_count == loop.global_prior_model.prior_count == 5 + 2 * N
    ours, theirs = declared.optimise(), loop.optimise()
    for variable in (*shared, *scatter):
        assert ours.mean_field.mean[variable] == theirs.mean_field.mean[variable]
    assert ours.log_evidence == theirs.log_evidence
    own_means = [theirs.mean_field.mean[factor.prior_model.u] for factor in factors]
    np.testing.assert_array_equal(ours.mean_field.mean[model.u], own_means)
    np.testing.assert_array_equal(ours.mean_field.variance[model.u], ours.mean_field.scale[model.u] ** 2)
    draws = ours.mean_field.draws(model.u)
    assert draws.shape[0] == N
    np.testing.assert_array_equal(draws[3], ours.mean_field.draws(declared.factors[3].prior_model.u))
    np.testing.assert_array_equal(ours.mean_field.quantile(model.u, [0.1, 0.9])[3], np.quantile(draws[3], [0.1, 0.9]))
    assert model.u in ours.mean_field


def test_a_multivariate_parent():
    _, a, b = numbers()
    mean = [fg.GaussianPrior(0.0, 2.0), fg.GaussianPrior(0.0, 2.0)]
    scale = [fg.HalfNormalPrior(1.0), fg.HalfNormalPrior(1.0)]
    correlation = fg.LKJPrior(1.0)

    def parent():
        return fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=mean, scale=scale, correlation=correlation)

    model = fg.Model(Pair)
    declared = fg.FactorGraphModel(fg.Plate(model, Measured, {"a": a, "b": b}), parent().over((model.u, model.v)))
    loop_parent, factors = parent(), []
    for i in range(N):
        own = fg.Model(Pair)
        factors.append(fg.AnalysisFactor(own, Measured(float(a[i]), float(b[i]))))
        loop_parent.add_drawn_variable((own.u, own.v))
    assert_same_plates(declared, fg.FactorGraphModel(*factors, loop_parent))


def test_a_discrete_variable():
    _, a, b = numbers()
    share = fg.BetaPrior(1.0, 9.0)

    def parent():
        return fg.HierarchicalFactor(fg.BernoulliPrior, probability=share)

    model = fg.Model(Pair, v=fg.GaussianPrior(0.0, 1.0))
    declared = fg.FactorGraphModel(fg.Plate(model, Measured, {"a": a, "b": b}), parent().over(model.u))
    loop_parent, factors = parent(), []
    for i in range(N):
        own = fg.Model(Pair, v=fg.GaussianPrior(0.0, 1.0))
        factors.append(fg.AnalysisFactor(own, Measured(float(a[i]), float(b[i]))))
        loop_parent.add_drawn_variable(own.u)
    assert_same_plates(declared, fg.FactorGraphModel(*factors, loop_parent))


def test_assertions_hold_in_every_row():
    _, a, b = numbers()

    def make():
        model = fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=fg.GaussianPrior(0.0, 1.0))
        model.add_assertion(model.u < model.v)
        return model

    declared = fg.FactorGraphModel(fg.Plate(make(), Measured, {"a": a, "b": b}))
    loop = fg.FactorGraphModel(*(fg.AnalysisFactor(make(), Measured(*map(float, row))) for row in zip(a, b)))
    assert_same_plates(declared, loop)


def test_a_shared_variable_is_one_unknown():
    _, a, b = numbers()
    common = fg.GaussianPrior(0.0, 1.0)
    model = fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=common)
    declared = fg.FactorGraphModel(fg.Plate(model, Measured, {"a": a, "b": b}, shared=[common]))
    loop = fg.FactorGraphModel(
        *(
            fg.AnalysisFactor(fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=common), Measured(*map(float, row)))
            for row in zip(a, b)
        )
    )
    assert_same_plates(declared, loop)
    assert declared.terms.shared == (common,)


def test_what_the_graph_uses_outside_of_plates_is_one_unknown():
    _, a, b = numbers()
    common = fg.GaussianPrior(0.0, 1.0)
    plate = fg.Plate(fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=common), Measured, {"a": a, "b": b})
    calibration = fg.AnalysisFactor(fg.Model(Pair, u=0.0, v=common), Measured(0.0, 0.3))
    assert fg.FactorGraphModel(plate, calibration).terms.shared == (common,)


def test_plates_of_the_same_objects_are_joined_by_name():
    _, a, b = numbers()
    names = [f"g{i}" for i in range(N)]
    level = fg.Variable("level")
    deep = fg.Model(Pair, u=level, v=fg.GaussianPrior(0.0, 1.0))
    wide = fg.Model(Level, level=level)
    y, error = np.stack([a, b], axis=1)[::-1], np.full((N, 2), 0.4)
    graph = fg.FactorGraphModel(
        fg.Plate(deep, Measured, {"a": a, "b": b}, names=names, name="deep"),
        fg.Plate(wide, Whole, {"y": y[:5], "error": error[:5]}, names=names[::-1][:5], name="wide"),
        gaussian_parent().over(level),
    )

    parent, factors = gaussian_parent(), []
    for i, name in enumerate(names):
        own = fg.Variable()
        parent.add_drawn_variable(own)
        model = fg.Model(Pair, u=own, v=fg.GaussianPrior(0.0, 1.0))
        factors.append(fg.AnalysisFactor(model, Measured(float(a[i]), float(b[i])), name=f"{name} a", dataset=name))
        if i >= N - 5:
            k = N - 1 - i
            factors.append(
                fg.AnalysisFactor(fg.Model(Level, level=own), Whole(y[k], error[k]), name=f"{name} b", dataset=name)
            )
    assert_same_plates(graph, fg.FactorGraphModel(*factors, parent))
    assert graph.dataset_names[0] == "g0 deep"
    assert len(graph.rows[level]) == N


# --- where the arrays come from ---


def measured_plate(**options):
    _, a, b = numbers()
    model = fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=fg.GaussianPrior(0.0, 1.0))
    return fg.Plate(model, Measured, {"a": a, "b": b}, **options)


def test_an_xarray_dataset():
    x, a, b = numbers()
    ds = xr.Dataset(
        {"a": ("galaxy", a), "b": ("galaxy", b), "log_mass": ("galaxy", x), "error": ((), 0.5), "note": ((), "deep")},
        coords={"galaxy": [f"NGC {i}" for i in range(N)]},
    )
    model = fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=fg.GaussianPrior(0.0, 1.0))
    plate = fg.Plate.from_dataset(ds, dim="galaxy", model=model, analysis=Measured)
    graph = fg.FactorGraphModel(plate)
    assert graph.dataset_names[3] == "NGC 3"
    np.testing.assert_array_equal(plate["log_mass"].values, x)
    loop = fg.FactorGraphModel(
        *(
            fg.AnalysisFactor(
                fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=fg.GaussianPrior(0.0, 1.0)),
                Measured(float(a[i]), float(b[i])),
            )
            for i in range(N)
        )
    )
    for ours, theirs in zip(graph.plates[0].arrays.constants, loop.plates[0].arrays.constants, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(fg.GraphError, match="Did you mean 'galaxy'"):
        fg.Plate.from_dataset(ds, dim="galaxies", model=model, analysis=Measured)


def ragged(seed=1, lengths=(3, 1, 4, 2, 4, 1)):
    rng = np.random.default_rng(seed)
    y = [rng.normal(size=n) for n in lengths]
    return y, [rng.uniform(0.5, 1.0, size=n) for n in lengths]


def log_likelihoods(graph, level):
    """Of every dataset, at one level for all, by the public path."""
    return [factor.analysis.log_likelihood_function(Level(level)) for factor in graph.factors]


def level_model():
    return fg.Model(Level, level=fg.GaussianPrior(0.0, 2.0))


def expected(y, error, level=0.3):
    return [np.sum(stats.norm.logpdf(row[0], level, row[1])) for row in zip(y, error, strict=True)]


def test_datasets_of_unequal_length():
    y, error = ragged()
    graph = fg.FactorGraphModel(fg.Plate(level_model(), Series, {"y": y, "error": error}, mask="mask"))
    assert len(graph.plates) == 1
    np.testing.assert_allclose(log_likelihoods(graph, 0.3), expected(y, error), rtol=1e-5)
    loop = fg.FactorGraphModel(*(fg.AnalysisFactor(level_model(), Whole(*row)) for row in zip(y, error)))
    assert graph.optimise().log_evidence == pytest.approx(loop.optimise().log_evidence, abs=1e-6)


def test_lengths_that_differ_much_make_a_few_buckets():
    y, error = ragged(lengths=[*range(1, 200), 5000, 4000])
    plate = fg.Plate(level_model(), Series, {"y": y, "error": error}, mask="mask")
    shapes = [part.bucket.columns["y"].shape for part in plate.parts]
    assert len(shapes) <= 4
    assert sum(np.prod(shape) for shape in shapes) < 3.0 * sum(map(len, y))
    graph = fg.FactorGraphModel(plate)
    assert sorted(p.size for p in graph.plates) == sorted(shape[0] for shape in shapes)
    np.testing.assert_allclose(log_likelihoods(graph, 0.3), expected(y, error), rtol=1e-5)


def test_gaps_are_masked():
    y, error = ragged(lengths=(4, 4, 4))
    gappy = np.array(y)
    gappy[0, 1], gappy[1, 0], gappy[2, 2:] = np.nan, np.nan, np.nan
    graph = fg.FactorGraphModel(fg.Plate(level_model(), Series, {"y": gappy, "error": np.array(error)}, mask="mask"))
    there = ~np.isnan(gappy)
    rows = [(y[i][there[i]], error[i][there[i]]) for i in range(3)]
    np.testing.assert_allclose(log_likelihoods(graph, 0.3), expected(*zip(*rows)), rtol=1e-5)


@pytest.mark.parametrize("as_gaps", [True, False])
def test_a_dataset_without_data_is_its_prior(as_gaps):
    y, error = ragged(lengths=(4, 0, 4))
    if as_gaps:
        y[1] = np.full(4, np.nan)
        y, error = np.array(y), np.stack([error[0], np.zeros(4), error[2]])
    model = level_model()
    graph = fg.FactorGraphModel(fg.Plate(model, Series, {"y": y, "error": error}, mask="mask"))
    assert log_likelihoods(graph, 0.3)[1] == 0.0
    result = graph.optimise()
    assert result.mean_field.mean[model.level][1] == pytest.approx(0.0, abs=1e-6)
    assert result.mean_field.scale[model.level][1] == pytest.approx(2.0, rel=1e-6)


class Table(dict):
    """What a data frame has in common with an astropy table."""

    @property
    def colnames(self):
        return list(self)


@pytest.mark.parametrize("kind", [dict, Table, "structured"])
def test_a_table_of_lines(kind):
    y, error = ragged()
    lines = np.concatenate([np.full(len(row), k) for k, row in enumerate(y)])
    order = np.random.default_rng(2).permutation(len(lines))
    columns = {
        "galaxy": np.array([f"g{k}" for k in lines])[order],
        "y": np.concatenate(y)[order],
        "error": np.concatenate(error)[order],
        "log_mass": (10.0 + lines)[order],
    }
    if kind == "structured":
        table = np.rec.fromarrays(list(columns.values()), names=list(columns))
    else:
        table = kind(columns)
    plate = fg.Plate.from_table(table, by="galaxy", model=level_model(), analysis=Series, mask="mask")
    graph = fg.FactorGraphModel(plate)
    found = dict(zip(graph.dataset_names, log_likelihoods(graph, 0.3), strict=True))
    wanted = expected(y, error)
    assert list(found) == list(dict.fromkeys(columns["galaxy"]))
    for k, value in enumerate(wanted):
        assert found[f"g{k}"] == pytest.approx(value, rel=1e-5)
    np.testing.assert_array_equal(plate["log_mass"].values, [10.0 + int(name[1:]) for name in found])


def test_a_table_with_a_dataset_a_line():
    x, a, b = numbers()
    table = {"id": np.arange(N) + 100, "a": a, "b": b, "x": x}
    model = fg.Model(Pair, u=fg.GaussianPrior(0.0, 1.0), v=fg.GaussianPrior(0.0, 1.0))
    plate = fg.Plate.from_table(table, names="id", model=model, analysis=Measured)
    assert plate.names[:2] == ("100", "101")
    np.testing.assert_array_equal(plate["x"].values, x)


# --- what an analysis may do with its arguments ---


class Derived(fg.Analysis):
    """Holds a whole number, text, something derived and something that all have in common."""

    def __init__(self, counts, band, psf):
        self.log_counts = np.log(counts + 1.0)
        self.counts, self.band, self.psf = counts, band, psf

    def log_likelihood_function(self, instance):
        rate = jnp.exp(instance.level)
        return self.counts * instance.level - rate + 0.0 * self.log_counts + jnp.sum(self.psf) * 0.0


def test_whole_numbers_are_data_and_settings_are_common():
    counts, psf = np.arange(N), np.ones(3)
    data = {"counts": counts, "band": np.array(["r"] * N)}
    graph = fg.FactorGraphModel(fg.Plate(level_model(), functools.partial(Derived, psf=psf), data))
    assert len(graph.plates) == 1
    logs, own, common = graph.plates[0].arrays.constants
    np.testing.assert_array_equal(own, counts)
    np.testing.assert_array_equal(logs, np.log(counts + 1.0))
    assert common.shape == (N, 3)
    assert common.strides[0] == 0  # held once
    assert graph.lanes[0].name == "jax"


def test_a_setting_that_differs_is_refused():
    data = {"counts": np.arange(3), "band": np.array(["r", "g", "r"])}
    plate = fg.Plate(level_model(), functools.partial(Derived, psf=np.ones(3)), data)
    with pytest.raises(fg.GraphError, match=r"attribute 'band' differs: 'dataset_0' has 'r', 'dataset_1' has 'g'"):
        _ = fg.FactorGraphModel(plate).plates


# --- misuse ---


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: measured_plate(names=["a"] * N), fg.GraphError, "given more than once, such as 'a'"),
        (lambda: measured_plate(names=["a"]), fg.GraphError, "1 names for 12 datasets"),
        (lambda: measured_plate(shared=[fg.GaussianPrior(0.0, 1.0)]), fg.GraphError, "no variable of its model"),
        (lambda: measured_plate()["c"], fg.UnknownArgument, "no column 'c'.*Allowed: 'a', 'b'"),
        (
            lambda: fg.Plate(Pair, Measured, {"a": np.zeros(3), "b": np.zeros(4)}),
            fg.GraphError,
            "different numbers of datasets: a 3, b 4",
        ),
        (lambda: fg.Plate(Pair, Measured, {"a": np.zeros(3)}), fg.UnknownArgument, "missing a required argument: 'b'"),
        (
            lambda: fg.Plate(Pair, Measured, {"a": np.zeros(3), "b": np.zeros(3), "eror": np.zeros(3)}),
            fg.UnknownArgument,
            "takes no argument 'eror'.*Did you mean 'error'",
        ),
        (lambda: fg.Plate(Pair, Measured, {"a": 1.0, "b": np.zeros(3)}), fg.GraphError, "without an axis"),
        (lambda: fg.Plate(Pair, Measured, {}), fg.GraphError, "there is no column"),
        (
            lambda: fg.Plate(level_model(), Series, {"y": ragged()[0], "error": ragged()[1]}),
            fg.GraphError,
            'mask="mask"',
        ),
        (
            lambda: fg.Plate(level_model(), Series, {"y": ragged()[0], "error": ragged()[1][::-1]}, mask="mask"),
            fg.GraphError,
            "must have one length",
        ),
        (
            lambda: measured_plate(covariates={"x": np.full(N, np.nan)})["x"],
            fg.FactorGraphError,
            "12 of 12 values are not finite",
        ),
        (lambda: measured_plate(covariates={"x": np.zeros(3)})["x"], fg.FactorGraphError, "one number a dataset"),
    ],
)
def test_misuse_is_refused_when_a_plate_is_made(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_misuse_is_refused_when_a_graph_is_made():
    plate = measured_plate(covariates={"x": np.zeros(N)})
    with pytest.raises(fg.GraphError, match="given twice"):
        fg.FactorGraphModel(plate, plate)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=plate["x"], sigma=fg.HalfNormalPrior(1.0))
    other = fg.Model(Level)
    parent.add_drawn_variable(other.level)
    y, error = ragged()
    with pytest.raises(fg.GraphError, match="in no plate of this graph"):
        fg.FactorGraphModel(fg.AnalysisFactor(other, Whole(y[0], error[0])), parent)
    common = fg.Variable()
    unnamed = [fg.Plate(fg.Model(Level, level=common), Whole, {"y": np.zeros((3, 2)), "error": np.ones((3, 2))})] * 2
    with pytest.raises(fg.GraphError, match="joined by name"):
        fg.FactorGraphModel(
            unnamed[0], fg.Plate(fg.Model(Level, level=common), Whole, {"y": y[:1], "error": error[:1]})
        )


def test_names_tell_the_datasets_of_two_plates_apart():
    graph = fg.FactorGraphModel(measured_plate(), measured_plate())
    assert graph.dataset_names[0] == "dataset_0_0"
    assert graph.dataset_names[N] == "dataset_1_0"
    names = [f"g{i}" for i in range(N)]
    graph = fg.FactorGraphModel(measured_plate(names=names, name="deep"), measured_plate(names=names, name="wide"))
    assert (graph.dataset_names[0], graph.dataset_names[N]) == ("g0 deep", "g0 wide")


# --- pictures and size ---


def test_one_node_stands_for_a_declared_plate():
    model = fg.Model(Pair, v=fg.GaussianPrior(0.0, 1.0))
    _, a, b = numbers()
    graph = fg.FactorGraphModel(fg.Plate(model, Measured, {"a": a, "b": b}), gaussian_parent().over(model.u))
    found = graph.networkx
    analyses = [data for _, data in found.nodes(data=True) if data.get("factor_kind") == "analysis"]
    assert [data["size"] for data in analyses] == [N]
    assert found.number_of_nodes() == 6  # likelihood, draw, u, v, mean, sigma
    assert "plate of 12 Measured: JAX" in graph.info
    assert "Total Free Parameters = 4" in graph.info
    assert graph.to_dot().source


def test_twenty_thousand_datasets_are_built_in_a_moment():
    num = 20_000
    model = fg.Model(Level)
    rng = np.random.default_rng(0)
    began = time.process_time()
    plate = fg.Plate(model, Whole, {"y": rng.normal(size=(num, 5)), "error": np.ones((num, 5))})
    graph = fg.FactorGraphModel(plate, gaussian_parent().over(model.level))
    assert graph.plates[0].size == num
    assert time.process_time() - began < 6.0  # one, on a quiet machine
    assert graph.plates[0].arrays.constants[0] is plate.parts[0].bucket.columns["y"]  # nothing copied


def test_datasets_one_after_the_other():
    rng = np.random.default_rng(2)
    rows = [{"id": f"s{n}", "y": rng.normal(size=n), "error": np.full(n, 0.3), "mass": float(n)} for n in (3, 5, 4)]
    plate = fg.Plate.from_rows(
        iter(rows), model=fg.Model(Level, level=fg.GaussianPrior(0.0, 1.0)), analysis=Series, names="id", mask="mask"
    )
    assert plate.names == ("s3", "s5", "s4")
    np.testing.assert_array_equal(plate["mass"].values, [3.0, 5.0, 4.0])
    found = fg.FactorGraphModel(plate).factors[0].analysis
    np.testing.assert_array_equal(found.y[found.mask], rows[0]["y"])
    with pytest.raises(fg.GraphError, match="dataset 1 has the columns y, the first has error, y"):
        fg.Plate.from_rows([{"y": 1.0, "error": 1.0}, {"y": 1.0}], model=Level, analysis=Series)
    with pytest.raises(fg.UnknownArgument, match="no column 'name'"):
        fg.Plate.from_rows(rows, model=Level, analysis=Series, names="name")
