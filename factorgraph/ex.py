"""The example of the documentation: one-dimensional profiles, noisy data of them, and their likelihood."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from factorgraph.analysis import Analysis as _Analysis
from factorgraph.model.prior import LogUniformPrior, UniformPrior
from messages.array_namespace import Array, namespace


class Gaussian:
    """A one-dimensional Gaussian profile, normalization / (sigma sqrt(2 pi)) exp(-(x - centre)^2 / (2 sigma^2)).

    A model of it starts with the priors centre ~ U(0, 100), log(normalization) uniform in 1e-6 ... 1e6, sigma ~ U(0,
    25).
    """

    priors = {
        "centre": UniformPrior(lower_limit=0.0, upper_limit=100.0),
        "normalization": LogUniformPrior(lower_limit=1e-6, upper_limit=1e6),
        "sigma": UniformPrior(lower_limit=0.0, upper_limit=25.0),
    }

    def __init__(self, centre: float = 30.0, normalization: float = 1.0, sigma: float = 5.0):
        self.centre = centre
        self.normalization = normalization
        self.sigma = sigma

    def model_data_from(self, xvalues: Array) -> Array:
        """The profile at ``xvalues``, same shape."""
        xvalues = np.asarray(xvalues) if isinstance(xvalues, (range, list, tuple)) else xvalues
        xp = namespace(xvalues, self.centre, self.normalization, self.sigma)
        z = (xvalues - self.centre) / self.sigma
        return self.normalization / (self.sigma * math.sqrt(2.0 * math.pi)) * xp.exp(-0.5 * z * z)

    __call__ = model_data_from


class Analysis(_Analysis):
    """Data on x = 0, 1, 2, ... with independent Gaussian noise, made of one profile or of the sum of a collection.

    Parameters
    ----------
    data, noise_map
        Shape ``(num_pixels,)``; ``noise_map`` holds standard deviations.
    use_jax
        See `factorgraph.analysis.Analysis`; this likelihood can always be traced.
    """

    def __init__(self, data: Array, noise_map: Array, use_jax: bool = False):
        super().__init__(use_jax=use_jax)
        self.data = data
        self.noise_map = noise_map

    def model_data_1d_from(self, instance: Any) -> Array:
        """What the instance predicts, shape ``(num_pixels,)``: its own profile, or the sum of those of its members."""
        xvalues = np.arange(np.shape(self.data)[0])
        if hasattr(instance, "model_data_from"):
            return instance.model_data_from(xvalues)
        return sum(profile.model_data_from(xvalues) for profile in instance)

    def log_likelihood_function(self, instance: Any) -> Array:
        """Gaussian log likelihood with its normalisation, nats."""
        residual = (self.data - self.model_data_1d_from(instance)) / self.noise_map
        xp = namespace(residual)
        return -0.5 * xp.sum(residual * residual + xp.log(2.0 * math.pi * self.noise_map**2))


def plot_profile_1d(
    xvalues: Array,
    profile_1d: Array,
    *,
    errors: Array | None = None,
    title: str | None = None,
    ylabel: str = "profile",
    file_path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw one profile.

    Parameters
    ----------
    xvalues, profile_1d
        Shape ``(num_pixels,)``.
    errors
        Standard deviations drawn as bars, same shape.
    file_path
        Written there; without it the figure is shown.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    if errors is None:
        axes.plot(xvalues, profile_1d, color="k")
    else:
        axes.errorbar(xvalues, profile_1d, yerr=errors, color="k", linestyle="", elinewidth=1, capsize=2)
    axes.set(xlabel="x", ylabel=ylabel, title=title or "")
    if file_path is None:
        plt.show()
    else:
        figure.savefig(file_path)
    plt.close(figure)
    return figure
