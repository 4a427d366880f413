"""All families of priors under one name."""

from factorgraph.model.families.bounded import Flat, LogUniform, Uniform
from factorgraph.model.families.contract import Family
from factorgraph.model.families.gaussian import Gaussian, HalfNormal, LogGaussian, TruncatedGaussian
from factorgraph.model.families.heavy_tailed import Cauchy, HalfCauchy

__all__ = [
    "Cauchy",
    "Family",
    "Flat",
    "Gaussian",
    "HalfCauchy",
    "HalfNormal",
    "LogGaussian",
    "LogUniform",
    "TruncatedGaussian",
    "Uniform",
]
