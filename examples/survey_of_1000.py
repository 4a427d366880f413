"""A survey of a thousand faint sources: where is their population, though no single source says much?

Every source is a Gaussian profile on 100 pixels with unit noise, faint enough that its own centre is uncertain by
several pixels. Centre, normalization and sigma of all are unknown; the centres are drawn from a population:

    centre_i ~ Normal(mean, scatter),    pixel ~ Normal(profile(centre_i, normalization_i, sigma_i), 1).

That is 3,002 unknowns. Two surveys are solved, so that compilation and steady state are seen apart: the second, a new
graph with new data, compiles nothing. The populations from which the surveys were simulated must be found again.
"""

import time

import jax.numpy as jnp
import numpy as np

import factorgraph as fg

NUM_SOURCES, NUM_PIXELS = 1000, 100
MEAN, SCATTER = 50.0, 10.0


class Source:
    """A Gaussian profile; `build` says where each of its parameters comes from."""

    def __init__(self, centre, normalization, sigma):
        self.centre, self.normalization, self.sigma = centre, normalization, sigma

    def at(self, x):
        height = self.normalization / (np.sqrt(2 * np.pi) * self.sigma)
        return height * jnp.exp(-0.5 * ((x - self.centre) / self.sigma) ** 2)


class Pixels(fg.Analysis):
    """The data of one source, shape (100,); the noise has standard deviation 1."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def log_likelihood_function(self, instance):
        residual = self.data - instance.at(jnp.arange(NUM_PIXELS))
        return -0.5 * jnp.sum(residual**2) - 0.5 * NUM_PIXELS * np.log(2 * np.pi)


def simulate(seed):
    """Data (1000, 100) and the true centres (1000,)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(MEAN, SCATTER, size=(NUM_SOURCES, 1))
    normalizations = rng.normal(25.0, 5.0, size=(NUM_SOURCES, 1))
    sigmas = rng.normal(10.0, 2.0, size=(NUM_SOURCES, 1))
    profiles = np.asarray(Source(centres, normalizations, sigmas).at(np.arange(NUM_PIXELS)), dtype=float)
    return profiles + rng.standard_normal((NUM_SOURCES, NUM_PIXELS)), centres[:, 0]


def build(data):
    """The graph, its parent, and the variables of the centres."""
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior,
        mean=fg.TruncatedGaussianPrior(50.0, 10.0, 0.0, 100.0),
        sigma=fg.TruncatedGaussianPrior(10.0, 5.0, 0.0, 100.0),
    )
    factors, centres = [], []
    for pixels in data:
        model = fg.Model(Source)
        model.normalization = fg.TruncatedGaussianPrior(25.0, 5.0, 0.0, np.inf)
        model.sigma = fg.TruncatedGaussianPrior(10.0, 2.0, 0.0, np.inf)
        parent.add_drawn_variable(model.centre)
        centres.append(model.centre)
        factors.append(fg.AnalysisFactor(prior_model=model, analysis=Pixels(pixels)))
    return fg.FactorGraphModel(*factors, parent), parent, centres


def solve(seed):
    """Simulate and solve one survey; its result, and how far the answer is from the truth."""
    data, truth = simulate(seed)
    graph, parent, centres = build(data)
    wall, cpu = time.perf_counter(), time.process_time()
    result = graph.optimise(seed=0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu

    mean, scale = result.mean_field.mean, result.mean_field.scale
    pulls = np.array([(mean[centre] - true) / scale[centre] for centre, true in zip(centres, truth)])
    print(f"survey {seed}: {wall:.1f} s ({cpu:.1f} CPU s), {result.ep.num_steps} sweeps, k-hat {result.k_hat:.2f}")
    for label, variable, true in (("mean", parent.mean, MEAN), ("scatter", parent.sigma, SCATTER)):
        print(f"    {label:<8}{mean[variable]:>8.3f} +- {scale[variable]:.3f}   truth {true}")
        assert abs(mean[variable] - true) < 3 * scale[variable]
    median_error = np.median([scale[centre] for centre in centres])
    inside = np.mean(np.abs(pulls) < 1)
    print(f"    centres: median error {median_error:.2f} pixels, {inside:.1%} within one of their sds of the truth")

    assert result.converged
    assert result.is_corrected
    # The truth was drawn from the model, so the pulls have mean 0 and variance 1, up to 4 standard errors of 1,000.
    assert abs(pulls.mean()) < 4 / np.sqrt(NUM_SOURCES)
    assert abs(pulls.var() - 1) < 4 * np.sqrt(2 / NUM_SOURCES)


def main():
    for seed in (1, 2):
        solve(seed)


if __name__ == "__main__":
    main()
