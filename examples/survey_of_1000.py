"""A survey of a thousand faint sources: where is their population, though no single source says much?

Every source is a Gaussian profile on 100 pixels with unit noise, faint enough that its own centre is uncertain by
several pixels. Centre, normalization and sigma of all are unknown; the centres are drawn from a population:

    centre_i ~ Normal(mean, scatter),    pixel ~ Normal(profile(centre_i, normalization_i, sigma_i), 1).

That is 3,002 unknowns. Two surveys are solved, so that compilation and steady state are seen apart: the second, a new
graph with new data, compiles nothing. The populations from which the surveys were simulated must be found again.
"""

import time

import numpy as np

import factorgraph as fg

NUM_SOURCES, NUM_PIXELS = 1000, 100
MEAN, SCATTER = 50.0, 10.0


class Source(fg.ex.Gaussian):
    """A profile without priors of its own: `build` says where each of its parameters comes from."""

    priors = {}


def simulate(seed):
    """Data (1000, 100) and the true centres (1000,)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(MEAN, SCATTER, size=NUM_SOURCES)
    normalizations = np.maximum(rng.normal(25.0, 5.0, size=NUM_SOURCES), 10.0)
    sigmas = np.maximum(rng.normal(10.0, 2.0, size=NUM_SOURCES), 4.0)
    x = np.arange(NUM_PIXELS)
    profiles = [Source(*truth).model_data_from(x) for truth in zip(centres, normalizations, sigmas)]
    return np.array(profiles) + rng.standard_normal((NUM_SOURCES, NUM_PIXELS)), centres


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
        model.normalization = fg.TruncatedGaussianPrior(25.0, 10.0, 0.0, np.inf)
        model.sigma = fg.TruncatedGaussianPrior(10.0, 5.0, 0.0, np.inf)
        parent.add_drawn_variable(model.centre)
        centres.append(model.centre)
        factors.append(fg.AnalysisFactor(prior_model=model, analysis=fg.ex.Analysis(pixels, np.ones(NUM_PIXELS))))
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
    print(
        f"survey {seed}: solved in {wall:.1f} s ({cpu:.1f} CPU s), {result.ep.num_steps} sweeps, k-hat {result.k_hat:.2f}"
    )
    for label, variable, true in (("mean", parent.mean, MEAN), ("scatter", parent.sigma, SCATTER)):
        print(f"    {label:<8}{mean[variable]:>8.3f} +- {scale[variable]:.3f}   truth {true}")
        assert abs(mean[variable] - true) < 3 * scale[variable]
    print(
        f"    centres within one sd of the truth: {np.mean(np.abs(pulls) < 1):.1%}, within two: {np.mean(np.abs(pulls) < 2):.1%}"
    )
    median_error = np.median([scale[centre] for centre in centres])
    print(f"    median error of one centre: {median_error:.2f}")

    assert result.converged
    assert result.is_corrected
    # A posterior is calibrated under its prior: mean and variance of 1,000 pulls are 0 and 1 up to 4 standard errors.
    assert abs(pulls.mean()) < 4 / np.sqrt(NUM_SOURCES)
    assert abs(pulls.var() - 1) < 4 * np.sqrt(2 / NUM_SOURCES)


def main():
    for seed in (1, 2):
        solve(seed)


if __name__ == "__main__":
    main()
