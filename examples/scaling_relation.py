"""Do the density slopes of massive galaxies change with redshift? A scaling relation with intrinsic scatter.

Each lens has its own slope, drawn around a line in redshift, and was measured with an error of its own:

    gamma_i ~ Normal(intercept + gradient (z_i - 0.2), scatter),    measured_i ~ Normal(gamma_i, error_i).

In the graph the mean of the parent is a relation between priors. The check is exact: given the scatter everything is
Gaussian, and the scatter is one integral.
"""

import jax.numpy as jnp
import numpy as np

import factorgraph as fg

# Measurements: Shajib et al. 2021, MNRAS 503, 2380 (arXiv:2008.11724), as tabulated by Birrer et al. 2020, A&A 643,
# A165 (arXiv:2007.02941; github.com/TDCOSMO/hierarchy_analysis_2020_public). Redshift of the lens, slope, error.
LENSES = np.array([
    [0.227, 2.45628, 0.09616], [0.195, 2.18780, 0.03818], [0.280, 2.11885, 0.13714], [0.351, 2.16041, 0.03372],
    [0.206, 2.23490, 0.05501], [0.322, 2.37669, 0.26779], [0.430, 2.07549, 0.05779], [0.126, 1.97090, 0.03262],
    [0.273, 2.21066, 0.06059], [0.164, 2.17612, 0.07589], [0.232, 1.92192, 0.05299], [0.173, 2.18221, 0.05482],
    [0.185, 2.06488, 0.05016], [0.205, 2.23439, 0.07409], [0.160, 1.91589, 0.11162], [0.245, 2.01579, 0.05975],
    [0.208, 1.84613, 0.14092], [0.248, 1.99591, 0.02941], [0.228, 1.78424, 0.06890], [0.137, 2.32349, 0.07414],
    [0.228, 1.83827, 0.13056], [0.155, 2.00054, 0.04381], [0.181, 1.80735, 0.17295],
])  # fmt: skip
REDSHIFTS, SLOPES, ERRORS = LENSES.T
PIVOT = 0.2
PRIOR_MEANS, PRIOR_SDS = np.array([2.0, 0.0]), np.array([0.5, 2.0])  # of intercept and gradient
LARGEST_SCATTER = 1.0


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
    """The graph, and its parameters: intercept, gradient, scatter."""
    intercept, gradient = (fg.GaussianPrior(mean, sd) for mean, sd in zip(PRIOR_MEANS, PRIOR_SDS))
    scatter = fg.UniformPrior(0.0, LARGEST_SCATTER)
    factors = []
    for redshift, measured, error in zip(REDSHIFTS, SLOPES, ERRORS):
        model = fg.Model(Lens)
        relation = fg.HierarchicalFactor(
            fg.GaussianPrior, mean=intercept + gradient * (redshift - PIVOT), sigma=scatter
        )
        relation.add_drawn_variable(model.slope)
        factors += [fg.AnalysisFactor(prior_model=model, analysis=MeasuredSlope(measured, error)), relation]
    return fg.FactorGraphModel(*factors), (intercept, gradient, scatter)


def exact():
    """Mean and sd of intercept, gradient and scatter, (3,) each, and the log evidence."""
    num = 20_000
    scatters = (np.arange(num) + 0.5) / num * LARGEST_SCATTER
    design = np.column_stack([np.ones_like(REDSHIFTS), REDSHIFTS - PIVOT])
    weight = 1 / (ERRORS**2 + scatters[:, None] ** 2)
    precision = np.einsum("ki,ia,ib->kab", weight, design, design) + np.diag(PRIOR_SDS**-2)
    covariance = np.linalg.inv(precision)
    linear = (weight * SLOPES) @ design + PRIOR_MEANS / PRIOR_SDS**2
    line = np.einsum("kab,kb->ka", covariance, linear)
    log_density = 0.5 * (np.einsum("ka,ka->k", linear, line) + np.linalg.slogdet(covariance)[1])
    log_density -= 0.5 * (weight * SLOPES**2 - np.log(weight / (2 * np.pi))).sum(axis=1)
    log_density -= 0.5 * np.sum((PRIOR_MEANS / PRIOR_SDS) ** 2) + np.log(PRIOR_SDS).sum()
    density = np.exp(log_density - log_density.max())
    first = np.column_stack([line, scatters])
    variance = np.column_stack([covariance[:, 0, 0], covariance[:, 1, 1], 0 * scatters])
    mean = np.average(first, axis=0, weights=density)
    square = np.average(first**2 + variance, axis=0, weights=density)
    return mean, np.sqrt(square - mean**2), log_density.max() + np.log(density.mean())


def main():
    graph, variables = build()
    result = graph.optimise(seed=0)
    found = np.array([result.mean_field.mean[v] for v in variables])
    found_sd = np.array([result.mean_field.scale[v] for v in variables])
    mean, sd, log_evidence = exact()

    print(f"{'':<20}{'found':>20}{'exact':>20}")
    for k, label in enumerate(("slope at z = 0.2", "gradient in z", "scatter")):
        print(f"{label:<20}{found[k]:>11.3f} +- {found_sd[k]:.3f}{mean[k]:>11.3f} +- {sd[k]:.3f}")
    print(f"{'log evidence':<20}{result.log_evidence:>20.3f}{log_evidence:>20.3f}")
    print(f"\nThe gradient is {abs(found[1]) / found_sd[1]:.1f} standard deviations from zero: no evolution is seen.")

    assert result.converged
    assert np.all(np.abs(found - mean) < 0.1 * sd)
    assert np.all(np.abs(found_sd / sd - 1) < 0.07)
    assert abs(result.log_evidence - log_evidence) < 0.05
    assert abs(found[1]) < found_sd[1]


if __name__ == "__main__":
    main()
