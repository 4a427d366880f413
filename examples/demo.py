"""How alike are massive galaxies inside? Twenty-three gravitational lenses, one population.

The total density of each lens falls as r^-gamma. Every slope was measured with an error of its own; the question is the
mean slope of the population, and how much the galaxies scatter about it once the errors are taken away:

    gamma_i ~ Normal(mean, scatter),    measured_i ~ Normal(gamma_i, error_i).

The graph is solved twice, by expectation propagation and by sequential Monte Carlo over all 25 unknowns at once, and
both answers are printed beside the exact posterior (two-dimensional quadrature, below) and the published one. Run with
`make demo`.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

import factorgraph as fg

# Measurements: Shajib et al. 2021, MNRAS 503, 2380 (arXiv:2008.11724), as tabulated by Birrer et al. 2020, A&A 643,
# A165 (arXiv:2007.02941; github.com/TDCOSMO/hierarchy_analysis_2020_public). Name, slope, error.
TABLE = """
SDSSJ0029-0055 2.45628 0.09616    SDSSJ0037-0942 2.18780 0.03818    SDSSJ0252+0039 2.11885 0.13714
SDSSJ0330-0020 2.16041 0.03372    SDSSJ0728+3835 2.23490 0.05501    SDSSJ0737+3216 2.37669 0.26779
SDSSJ0903+4116 2.07549 0.05779    SDSSJ0959+0410 1.97090 0.03262    SDSSJ1112+0826 2.21066 0.06059
SDSSJ1204+0358 2.17612 0.07589    SDSSJ1250+0523 1.92192 0.05299    SDSSJ1306+0600 2.18221 0.05482
SDSSJ1313+4615 2.06488 0.05016    SDSSJ1402+6321 2.23439 0.07409    SDSSJ1531-0105 1.91589 0.11162
SDSSJ1621+3931 2.01579 0.05975    SDSSJ1627-0053 1.84613 0.14092    SDSSJ1630+4520 1.99591 0.02941
SDSSJ1636+4707 1.78424 0.06890    SDSSJ2238-0754 2.32349 0.07414    SDSSJ2300+0022 1.83827 0.13056
SDSSJ2303+1422 2.00054 0.04381    SDSSJ2343-0030 1.80735 0.17295
"""
LENSES = TABLE.split()
NAMES = LENSES[0::3]
SLOPES = np.array(LENSES[1::3], dtype=float)
ERRORS = np.array(LENSES[2::3], dtype=float)
PUBLISHED = {"mean": (2.08, 0.03), "scatter": (0.13, 0.02)}
OUTPUT = Path(__file__).parent / "output"


class Lens:
    def __init__(self, slope):
        self.slope = slope


class MeasuredSlope(fg.Analysis):
    """One slope and its error; the instance is a `Lens`."""

    def __init__(self, measured, error):
        super().__init__()
        self.measured, self.error = measured, error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.measured - instance.slope) / self.error) ** 2 - jnp.log(np.sqrt(2 * np.pi) * self.error)


def build():
    """The graph, and the population it estimates. The priors are flat where the data have anything to say."""
    population = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.UniformPrior(1.0, 3.0), sigma=fg.UniformPrior(0.0, 1.0), name="population"
    )
    factors = []
    for name, measured, error in zip(NAMES, SLOPES, ERRORS):
        model = fg.Model(Lens)
        population.add_drawn_variable(model.slope)
        factors.append(fg.AnalysisFactor(prior_model=model, analysis=MeasuredSlope(measured, error), name=name))
    return fg.FactorGraphModel(*factors, population), population


def exact():
    """Mean and sd of both parameters and the log evidence on a grid; the slopes are integrated in closed form."""
    mean, scatter = np.linspace(1.0, 3.0, 2001), np.linspace(0.0, 1.0, 2001)
    density = np.zeros((len(mean), len(scatter)))  # log
    for measured, error in zip(SLOPES, ERRORS):
        variance = error**2 + scatter**2
        density += -0.5 * (measured - mean[:, None]) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    density -= np.log(3.0 - 1.0)  # the uniform priors; that of the scatter has density one
    peak = density.max()
    weight = np.exp(density - peak)
    evidence = peak + np.log(np.trapezoid(np.trapezoid(weight, scatter), mean))
    moments = {}
    for name, grid, marginal in (("mean", mean, weight.sum(axis=1)), ("scatter", scatter, weight.sum(axis=0))):
        first = np.average(grid, weights=marginal)
        moments[name] = (first, np.sqrt(np.average((grid - first) ** 2, weights=marginal)))
    return moments, evidence


def moments_of(result, population):
    mean, scale = result.mean_field.mean, result.mean_field.scale
    parameters = {"mean": population.mean, "scatter": population.sigma}
    return {name: (mean[variable], scale[variable]) for name, variable in parameters.items()}


def show(label, moments, evidence="", seconds=""):
    (mean, mean_sd), (scatter, scatter_sd) = moments["mean"], moments["scatter"]
    cells = f"{mean:>9.3f} +- {mean_sd:.3f}{scatter:>9.3f} +- {scatter_sd:.3f}"
    print(f"{label:<26}{cells}{evidence:>15}{seconds:>8}".rstrip(), flush=True)


def picture(result, population, path):
    """Draws of the population's parameters beside what was published."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    mean, scatter = (result.mean_field.draws(variable) for variable in (population.mean, population.sigma))
    axes.plot(mean, scatter, ".", markersize=2, alpha=0.5, label="posterior draws")
    (x, dx), (y, dy) = PUBLISHED.values()
    axes.errorbar(x, y, xerr=dx, yerr=dy, color="black", capsize=3, label="published")
    axes.set(xlabel="mean slope of the population", ylabel="intrinsic scatter")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path)


def main():
    graph, population = build()
    print(f"{'':<26}{'mean slope':>18}{'scatter':>18}{'log evidence':>15}{'time':>8}")
    exact_moments, exact_evidence = exact()
    show("published (Shajib+ 2021)", PUBLISHED)
    show("exact (quadrature)", exact_moments, f"{exact_evidence:.2f}")

    result = graph.optimise(seed=0)
    found = moments_of(result, population)
    show("expectation propagation", found, f"{result.log_evidence:.2f}", f"{result.seconds:.0f} s")

    whole = fg.SMC().fit(model=graph.global_prior_model, analysis=graph, seed=0)
    error = whole.log_evidence_error
    whole_found = moments_of(whole, population)
    show("sequential Monte Carlo", whole_found, f"{whole.log_evidence:.2f} +- {error:.2f}", f"{whole.seconds:.0f} s")

    OUTPUT.mkdir(exist_ok=True)
    picture(result, population, OUTPUT / "lenses_posterior.png")
    graph.draw(OUTPUT / "lenses_graph.pdf")
    print(f"\nPictures of the graph and of the posterior are in {OUTPUT}.")

    assert result.converged
    assert abs(result.log_evidence - exact_evidence) < 0.05
    assert abs(whole.log_evidence - exact_evidence) < 3 * error
    for name, (mean, sd) in exact_moments.items():
        assert abs(found[name][0] - mean) < 0.1 * sd
        assert abs(found[name][1] / sd - 1) < 0.07
        assert abs(whole_found[name][0] - mean) < 0.5 * sd
        published, error = PUBLISHED[name]
        assert abs(found[name][0] - published) < np.hypot(sd, error)


if __name__ == "__main__":
    main()
