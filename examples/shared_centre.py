"""Where is the source? Three noisy profiles of one object: the centre is common to all, height and width are not.

The first example of PyAutoFit's cookbook on multiple datasets, whose true values were centre 50, normalization 50 and
sigma 10, 20, 30. One model with seven unknowns is fitted to all three datasets at once, first by expectation
propagation, then by nested sampling of the summed log likelihood; the check is exact, for given the centre each
dataset is an integral over two unknowns of its own.
"""

import numpy as np

import factorgraph as fg

CENTRE, NORMALIZATIONS, SIGMAS = 50.0, (50.0, 50.0, 50.0), (10.0, 20.0, 30.0)
NUM_PIXELS, NOISE = 100, 0.2


def simulate():
    """Three datasets, shape (3, 100), with noise of standard deviation 0.2."""
    rng = np.random.default_rng(1)
    x = np.arange(NUM_PIXELS)
    profiles = [fg.ex.Gaussian(CENTRE, a, s).model_data_from(x) for a, s in zip(NORMALIZATIONS, SIGMAS)]
    return np.array(profiles) + NOISE * rng.standard_normal((3, NUM_PIXELS))


def build(datasets):
    """The graph, the shared centre, and the model of each dataset."""
    centre = fg.UniformPrior(lower_limit=0.0, upper_limit=100.0)
    models, factors = [], []
    for data in datasets:
        model = fg.Model(fg.ex.Gaussian)
        model.centre = centre
        model.normalization = fg.LogUniformPrior(lower_limit=1.0, upper_limit=200.0)
        model.sigma = fg.UniformPrior(lower_limit=0.0, upper_limit=50.0)
        analysis = fg.ex.Analysis(data=data, noise_map=np.full(NUM_PIXELS, NOISE))
        models.append(model)
        factors.append(fg.AnalysisFactor(prior_model=model, analysis=analysis))
    return fg.FactorGraphModel(*factors), centre, models


def exact(datasets):
    """Mean and sd of the centre and the log evidence: a grid for the centre, and one for both unknowns of a dataset."""
    x = np.arange(NUM_PIXELS)
    centres = np.linspace(CENTRE - 4, CENTRE + 4, 161)
    log_normalizations = np.linspace(np.log(35.0), np.log(70.0), 141)
    normalizations = np.exp(log_normalizations)[:, None]
    log_posterior = np.full(len(centres), -np.log(100.0))  # the uniform prior
    for data, truth in zip(datasets, SIGMAS):
        sigmas = np.linspace(0.7 * truth, min(1.7 * truth, 50.0), 141)
        cell = np.diff(log_normalizations)[0] / np.log(200.0) * np.diff(sigmas)[0] / 50.0  # times the priors
        for k, centre in enumerate(centres):
            shape = np.exp(-0.5 * ((x - centre) / sigmas[:, None]) ** 2) / (np.sqrt(2 * np.pi) * sigmas[:, None])
            chi2 = data @ data - 2 * normalizations * (shape @ data) + normalizations**2 * (shape**2).sum(axis=1)
            log_likelihood = -0.5 * chi2 / NOISE**2 - NUM_PIXELS * np.log(np.sqrt(2 * np.pi) * NOISE)
            peak = log_likelihood.max()
            log_posterior[k] += peak + np.log(np.exp(log_likelihood - peak).sum() * cell)
    peak = log_posterior.max()
    posterior = np.exp(log_posterior - peak)
    mean = np.average(centres, weights=posterior)
    sd = np.sqrt(np.average((centres - mean) ** 2, weights=posterior))
    return mean, sd, peak + np.log(posterior.sum() * np.diff(centres)[0])


def main():
    datasets = simulate()
    graph, centre, models = build(datasets)
    mean, sd, log_evidence = exact(datasets)
    print(f"{'':<28}{'centre':>20}{'log evidence':>16}")
    print(f"{'exact':<28}{mean:>11.3f} +- {sd:.3f}{log_evidence:>16.2f}")

    result = graph.optimise(seed=0)
    nested = fg.DynestyStatic(nlive=100).fit(model=graph.global_prior_model, analysis=graph, seed=0)
    for label, found in (("expectation propagation", result), ("nested sampling", nested)):
        moments = f"{found.mean_field.mean[centre]:>11.3f} +- {found.mean_field.scale[centre]:.3f}"
        print(f"{label:<28}{moments}{found.log_evidence:>16.2f}")
    print("\nwidths, by dataset:")
    for model, child, truth in zip(models, result, SIGMAS):
        width, error = child.mean_field.mean[model.sigma], child.mean_field.scale[model.sigma]
        print(f"    {width:.2f} +- {error:.2f}, true value {truth}")
        assert abs(width - truth) < 3 * error

    assert result.converged
    assert abs(result.mean_field.mean[centre] - mean) < 0.1 * sd
    assert abs(result.mean_field.scale[centre] / sd - 1) < 0.07
    assert abs(result.log_evidence - log_evidence) < 0.1
    assert abs(nested.mean_field.mean[centre] - mean) < 0.2 * sd
    assert abs(nested.log_evidence - log_evidence) < 3 * nested.log_evidence_error


if __name__ == "__main__":
    main()
