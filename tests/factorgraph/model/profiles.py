"""Classes that models in these tests are made of, as in the documentation."""

from __future__ import annotations

import numpy as np


class Gaussian:
    def __init__(self, centre=0.0, intensity=0.1, sigma=0.01):
        self.centre = centre
        self.intensity = intensity
        self.sigma = sigma

    def profile_from(self, xvalues):
        return self.intensity * np.exp(-0.5 * ((xvalues - self.centre) / self.sigma) ** 2)


class GaussianKurtosis(Gaussian):
    def __init__(self, centre=0.0, intensity=0.1, sigma=0.01, kurtosis=0.1):
        super().__init__(centre=centre, intensity=intensity, sigma=sigma)
        self.kurtosis = kurtosis


class LightDeVaucouleurs:
    def __init__(
        self,
        centre: tuple[float, float] = (0.0, 0.0),
        axis_ratio: float = 1.0,
        angle: float = 0.0,
        intensity: float = 0.1,
        effective_radius: float = 0.6,
    ):
        self.centre = centre
        self.axis_ratio = axis_ratio
        self.angle = angle
        self.intensity = intensity
        self.effective_radius = effective_radius


class LightExponential(LightDeVaucouleurs):
    pass


class MassIsothermal:
    def __init__(self, centre: tuple[float, float] = (0.0, 0.0), axis_ratio=1.0, angle=0.0, mass=1.0):
        self.centre = centre
        self.axis_ratio = axis_ratio
        self.angle = angle
        self.mass = mass


class Galaxy:
    def __init__(self, redshift: float, light_profiles: list | None = None, mass_profiles: list | None = None):
        self.redshift = redshift
        self.light_profiles = light_profiles
        self.mass_profiles = mass_profiles
