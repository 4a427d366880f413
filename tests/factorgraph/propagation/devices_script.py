"""Solve a small hierarchy on all devices that there are, and print the answer; see `test_devices`."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

import factorgraph as fg


class Line:
    def __init__(self, slope, width):
        self.slope = slope
        self.width = width


class Points(fg.Analysis):
    """Student-t noise: not Gaussian in what is private, so that every dataset is explored."""

    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        deviation = (self.y - instance.slope * jnp.linspace(-1.0, 1.0, 12)) / instance.width
        return jnp.sum(-2.5 * jnp.log1p(deviation**2 / 4.0) - jnp.log(instance.width))


def graph(num):
    """The graph, and its variables by name."""
    rng = np.random.default_rng(5)
    slopes = rng.normal(1.0, 0.5, num)
    y = slopes[:, None] * np.linspace(-1.0, 1.0, 12) + 0.3 * rng.standard_t(4.0, (num, 12))
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.HalfNormalPrior(2.0))
    model = fg.Model(Line, width=fg.LogUniformPrior(0.01, 10.0))
    survey = fg.FactorGraphModel(fg.Plate(model, Points, {"y": y}), parent.over(model.slope))
    return survey, {"mean": parent.mean, "sigma": parent.sigma, "slope": model.slope, "width": model.width}


if __name__ == "__main__":
    survey, variables = graph(int(sys.argv[1]))
    result = survey.optimise(seed=2, block_size=8)
    answer = {"devices": len(jax.devices()), "log_evidence": result.log_evidence}
    for name, variable in variables.items():
        answer[f"mean of {name}"] = np.ravel(result.mean_field.mean[variable]).tolist()
        answer[f"scale of {name}"] = np.ravel(result.mean_field.scale[variable]).tolist()
    print(json.dumps(answer))
