"""All families of priors under one name."""

from factorgraph.model.families.bounded import Flat, LogUniform, Uniform
from factorgraph.model.families.contract import Family
from factorgraph.model.families.gaussian import Gaussian, HalfNormal, LogGaussian, TruncatedGaussian
from factorgraph.model.families.heavy_tailed import Cauchy, HalfCauchy
from factorgraph.model.families.mixture import GaussianMixture
from factorgraph.model.families.shaped import Beta, Exponential, Gamma, InverseGamma, StudentT, SymmetricBeta

__all__ = [
    "Beta",
    "Cauchy",
    "Exponential",
    "Family",
    "Flat",
    "Gamma",
    "Gaussian",
    "GaussianMixture",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LogGaussian",
    "LogUniform",
    "StudentT",
    "SymmetricBeta",
    "TruncatedGaussian",
    "Uniform",
]
