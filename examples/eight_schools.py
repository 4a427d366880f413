"""Does coaching help, and does it help more in some schools? The eight schools, the classic of hierarchical models.

In each school the effect of coaching on the test score was estimated with a known standard error. The true effects are
draws from a population whose mean and scatter are unknown; the scatter may well be zero, where its posterior is far
from normal, and each school's effect is shrunk towards the mean.

Data: Rubin 1981, Journal of Educational Statistics 6, 377; priors mean ~ N(0, 5), scatter ~ half-Cauchy(5) as in
posteriordb's `eight_schools_noncentered`. The check is exact: given the scatter everything is Gaussian, and the scatter
is one integral.
"""

import jax.numpy as jnp
import numpy as np

import factorgraph as fg

SCHOOLS = "ABCDEFGH"
EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
MEAN_SCALE = SCATTER_SCALE = 5.0


class School:
    def __init__(self, effect):
        self.effect = effect


class EstimatedEffect(fg.Analysis):
    """One school's estimate and its standard error; the instance is a `School`."""

    def __init__(self, estimate, error):
        super().__init__()
        self.estimate, self.error = estimate, error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.estimate - instance.effect) / self.error) ** 2 - jnp.log(np.sqrt(2 * np.pi) * self.error)


def build():
    """The graph, its parent, and the variables of the eight effects."""
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, MEAN_SCALE), sigma=fg.HalfCauchyPrior(SCATTER_SCALE)
    )
    factors, effects = [], []
    for name, estimate, error in zip(SCHOOLS, EFFECTS, ERRORS):
        model = fg.Model(School)
        parent.add_drawn_variable(model.effect)
        effects.append(model.effect)
        factors.append(fg.AnalysisFactor(prior_model=model, analysis=EstimatedEffect(estimate, error), name=name))
    return fg.FactorGraphModel(*factors, parent), parent, effects


def exact():
    """Mean and sd of the population's mean, its scatter and the effects, (10,) each, and the log evidence."""
    angle = (np.arange(100_000) + 0.5) / 100_000  # equal steps in the half-Cauchy's cumulative distribution
    scatter = SCATTER_SCALE * np.tan(0.5 * np.pi * angle)
    variance = ERRORS**2 + scatter[:, None] ** 2
    precision = MEAN_SCALE**-2 + (1 / variance).sum(axis=1)
    mean = (EFFECTS / variance).sum(axis=1) / precision
    log_weight = 0.5 * (precision * mean**2 - np.log(precision) - np.log(MEAN_SCALE**2))
    log_weight -= 0.5 * (EFFECTS**2 / variance + np.log(2 * np.pi * variance)).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    log_evidence = log_weight.max() + np.log(weight.mean())

    shrinkage = scatter[:, None] ** 2 / variance  # effect | mean, scatter: mean + shrinkage (estimate - mean)
    effect = mean[:, None] + shrinkage * (EFFECTS - mean[:, None])
    effect_variance = shrinkage * ERRORS**2 + (1 - shrinkage) ** 2 / precision[:, None]
    first = np.column_stack([mean, scatter, effect])
    second = np.column_stack([1 / precision, 0 * scatter, effect_variance]) + first**2
    mean, square = (np.average(moment, axis=0, weights=weight) for moment in (first, second))
    return mean, np.sqrt(square - mean**2), log_evidence


def main():
    graph, parent, effects = build()
    result = graph.optimise(seed=0)
    variables = [parent.mean, parent.sigma, *effects]
    found = np.array([result.mean_field.mean[v] for v in variables])
    found_sd = np.array([result.mean_field.scale[v] for v in variables])
    mean, sd, log_evidence = exact()

    print(f"{'':<10}{'measured':>16}{'found':>18}{'exact':>18}")
    for k, label in enumerate(["mean", "scatter", *SCHOOLS]):
        measured = f"{EFFECTS[k - 2]:.0f} +- {ERRORS[k - 2]:.0f}" if k >= 2 else ""
        print(f"{label:<10}{measured:>16}{found[k]:>10.2f} +- {found_sd[k]:.2f}{mean[k]:>10.2f} +- {sd[k]:.2f}")
    print(f"\nlog evidence {result.log_evidence:.3f}, exact {log_evidence:.3f}; k-hat {result.k_hat:.2f}")

    assert result.converged
    assert result.is_corrected
    assert np.all(np.abs(found - mean) < 0.15 * sd)
    assert np.all(np.abs(found_sd / sd - 1) < 0.15)
    assert abs(result.log_evidence - log_evidence) < 0.05


if __name__ == "__main__":
    main()
