"""Check and correct the posterior of the shared variables against the contracted joint density.

t-tailed draws around the EP posterior are weighted by prior times all log factors; Pareto k-hat says whether the
weights can be trusted (Vehtari et al. 2024; Yao et al. 2018). Where it is bad, a mixture fitted to the weighted draws
proposes the next ones. Moments are those of EP plus the weighted difference between the target and EP on the same
draws (a control variate), so that nothing is lost to Monte-Carlo noise where EP is exact. Good weights may still leave
the standard deviation of a variable with heavy tails to a few draws: then a mixture fitted to what that consists of
joins the proposal. Where all this does not do, and log factors are cheap and exact, particles are tempered from the
priors, and a mixture fitted to them proposes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import logsumexp

from factorgraph.propagation.contracted import MANY_POINTS
from factorgraph.propagation.state import ContractedGraph, EPState
from factorgraph.propagation.tempering import Tempered, Wide, temper
from searches import mixture as mixtures
from searches.importance import TRUSTED_K_HAT, student_draws, student_log_density
from searches.pareto import pareto_smooth
from searches.quasi import uniform_points
from searches.status import Status

_DEGREES_OF_FREEDOM = 5.0
_MAX_ROUNDS = 5
_CHUNK = 128
_GOOD_K_HAT = 0.5
_ENOUGH, _FEWEST_WORTH, _MORE = 1000.0, 0.4, 4  # draws that an answer is worth, or a part of the draws; times as many
_STUDENT_FRACTION, _PRIOR_FRACTION, _WIDER = 0.2, 0.15, 4.0  # of later rounds
_WIDENED, _WIDENED_WEIGHTS = (1.1, 2.0, 4.0), (0.7, 0.2, 0.1)  # of what is fitted
_SEED_AFTER = 50  # of the draws after tempering
_TAIL_FRACTION = 0.35  # of a round for the sake of standard deviations
_TOLERATED_SPREAD, _TAIL_ROUNDS = 0.03, 3  # relative error of a standard deviation
_TOLERATED_DIFFERENCE = 1e-3  # nats, of a target that is called Gaussian
_TOLERATED_SHIFT = 0.1  # sds, between weighted draws and particles
_ROUNDING = 1e-9  # of its log factors
_FEW_OVERLAP, _OVERLAP = 0.1, 0.3  # with EP's Gaussian, of two or three variables, and of more


Values = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False, slots=True)
class Correction:
    """Weighted draws of the shared variables.

    Attributes
    ----------
    phi
        (M, D) in coordinates.
    log_weight
        (M,) of the target, normalised.
    log_gaussian_weight
        (M,) of EP's Gaussian on the same draws, normalised.
    num_modes
        How many modes were proposed from.
    log_evidence_error
        Of the draws alone, nats.
    is_tempered
        The draws are particles of `tempering`, which weigh the same, and ``k_hat`` is that of its stages; or weighted
        draws of a mixture fitted to these.
    log_factors, inner_errors
        Per plate (N, M).
    """

    phi: np.ndarray
    log_weight: np.ndarray
    log_gaussian_weight: np.ndarray
    log_evidence: float
    k_hat: float
    effective_sample_size: float
    num_rounds: int
    num_modes: int
    log_factors: list[np.ndarray]
    inner_errors: list[np.ndarray]
    log_evidence_error: float
    is_tempered: bool = False

    @property
    def trusted(self) -> bool:
        return self.k_hat < TRUSTED_K_HAT

    @property
    def quality(self) -> tuple[bool, bool, float]:
        """What to compare by: whether the weights can be trusted comes before how many draws they are worth."""
        return self.k_hat < _GOOD_K_HAT, self.trusted, self.effective_sample_size

    @property
    def weights(self) -> np.ndarray:
        return np.exp(self.log_weight)

    @property
    def overlap(self) -> float:
        """How much of EP's Gaussian serves as a control variate, in [0, 1]: one where it is the target."""
        return _regression(self.weights, np.exp(self.log_gaussian_weight))

    @property
    def worth(self) -> float:
        """How many independent draws would leave as much noise in the moments: all the more where EP's Gaussian is the
        target."""
        return float(1.0 / max(np.sum(self.difference**2), 1e-300))

    @property
    def difference(self) -> np.ndarray:
        """(M,) weights of the target less those of EP's Gaussian, as far as the two agree."""
        return self.weights - self.overlap * np.exp(self.log_gaussian_weight)

    def spread_errors(self, theta: np.ndarray) -> np.ndarray:
        """Relative standard errors (2, D) of the standard deviations of ``theta`` (M, D), its values at the draws: of
        the weighted draws as they are, and with EP's Gaussian as a control variate."""
        weights, gaussian = self.weights[:, None], np.exp(self.log_gaussian_weight)[:, None]
        squares = (theta - np.sum(weights * theta, axis=0)) ** 2
        variance = np.maximum(np.sum(weights * squares, axis=0), 1e-300)
        plain = weights * (squares - variance)
        control = self.overlap * gaussian * (squares - np.sum(gaussian * squares, axis=0))
        errors = np.sqrt(np.stack([np.sum(plain**2, axis=0), np.sum((plain - control) ** 2, axis=0)]))
        repeats = np.sqrt(np.exp(-logsumexp(2.0 * self.log_weight)) / self.effective_sample_size)  # of particles
        return repeats * errors / (2.0 * variance)


def is_gaussian(graph: ContractedGraph, state: EPState, *, seed: int) -> bool:
    """Whether the target is EP's Gaussian also out to where t-tailed draws reach, which the points of the sweeps, a
    few within two standard deviations, do not show."""
    mean, covariance = state.phi_moments()
    factor = np.linalg.cholesky(covariance)
    phi, _ = student_draws(mean, factor, num_draws=_CHUNK, seed=seed, df=_DEGREES_OF_FREEDOM)
    target, log_factors, _ = evaluate(graph, phi)
    difference = target - student_log_density(phi, mean, factor, df=np.inf)
    size = sum(float(np.sum(np.max(np.abs(v), axis=1, where=np.isfinite(v), initial=0.0))) for v in log_factors)
    if not np.all(np.isfinite(difference)):
        return False
    return float(np.ptp(difference)) < _TOLERATED_DIFFERENCE + _ROUNDING * size


def correct(
    graph: ContractedGraph,
    state: EPState,
    others: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    num_draws: int,
    seed: int,
    values: Values = np.asarray,
) -> Correction:
    """Importance-sample the contracted posterior around EP's, and around ``others`` (mean (D,), factor (D, D)),
    adapting the proposal while k-hat is bad. Where it is good but few draws count, more are taken from the same
    proposal, and they alone decide; where the standard deviations of ``values``, (M, D) of draws in coordinates, rest
    on a few draws, more are taken from where those are."""
    mean, covariance = state.phi_moments()
    factor, num_modes = np.linalg.cholesky(covariance), 1 + len(others)

    def weighed(propose: Callable[[int, int], tuple[np.ndarray, np.ndarray]], num: int, index: int) -> Correction:
        found = _weigh(graph, mean, factor, *propose(num, seed + index), index)
        return replace(found, num_modes=num_modes)

    propose = partial(_first_draws, [(mean, factor), *others])
    correction = replace(weighed(propose, num_draws, 0), num_rounds=1)
    for index in range(2, _MAX_ROUNDS + 1):
        if correction.k_hat < _GOOD_K_HAT:
            break
        following = partial(_next_draws, correction, mean, factor, graph.whitened)
        candidate = weighed(following, num_draws, index)
        if candidate.quality > correction.quality:
            correction, propose = candidate, following
        else:
            correction = replace(correction, num_rounds=index)
    if correction.trusted and correction.worth < min(_ENOUGH, _FEWEST_WORTH * num_draws):
        correction = weighed(propose, _MORE * num_draws, correction.num_rounds + 1)
    for _ in range(_TAIL_ROUNDS):
        if not correction.trusted or not _spread_error(correction, values) > _TOLERATED_SPREAD:
            break
        following = partial(_next_draws, correction, mean, factor, graph.whitened, theta=values(correction.phi))
        candidate = weighed(following, _MORE * num_draws, correction.num_rounds + 1)
        if not candidate.trusted:
            break
        correction = candidate  # also where it says more of its error: it knows the tails better
    return correction


def _spread_error(correction: Correction, values: Values) -> float:
    return float(np.max(np.min(correction.spread_errors(values(correction.phi)), axis=0)))


def is_doubtful(correction: Correction) -> bool:
    """Whether the weights cannot be trusted, or the target has so little to do with EP's Gaussian that good weights may
    have missed a part of it."""
    dimension = correction.phi.shape[1]
    if dimension < 2:
        return not correction.trusted
    return not correction.trusted or correction.overlap < (_FEW_OVERLAP if dimension <= 3 else _OVERLAP)


def tempered(
    graph: ContractedGraph,
    state: EPState,
    correction: Correction,
    wide: Wide,
    *,
    num_draws: int,
    seed: int,
    values: Values = np.asarray,
) -> Correction:
    """The correction by tempering from ``wide``: ``num_draws`` weighted draws of a mixture fitted to the particles, or
    these where they are worth more. Where tempering cannot be trusted, the old one, which is trusted only as far as
    both agree."""
    lost = [status == Status.quarantined for status in state.status]
    found = temper(lambda phi: evaluate(graph, phi, MANY_POINTS, lost)[0], wide, seed=seed)
    if not found.k_hat < TRUSTED_K_HAT:
        return correction if _agree(correction, found) else replace(correction, k_hat=np.inf)
    mean, covariance = state.phi_moments()
    factor = np.linalg.cholesky(covariance)
    gaussian = student_log_density(found.phi, mean, factor, df=np.inf)
    _, factors, errors = evaluate(graph, found.phi, MANY_POINTS, lost)
    num = len(found.phi)
    particles = Correction(
        found.phi,
        np.full(num, -np.log(num)),
        gaussian - logsumexp(gaussian),
        found.log_evidence,
        found.k_hat,
        found.effective_sample_size,
        correction.num_rounds,
        correction.num_modes,
        factors,
        errors,
        found.log_evidence_error,
        is_tempered=True,
    )
    drawn = _next_draws(particles, mean, factor, graph.whitened, num_draws, seed + _SEED_AFTER, values(found.phi))
    weighted = _weigh(graph, mean, factor, *drawn, correction.num_rounds + 1)
    better = weighted.k_hat < _GOOD_K_HAT and weighted.effective_sample_size > found.effective_sample_size
    if better and _agree(weighted, found):
        return replace(weighted, num_modes=correction.num_modes, is_tempered=True)
    return particles


def _agree(correction: Correction, found: Tempered) -> bool:
    mean = correction.weights @ correction.phi
    sd = np.sqrt(np.maximum(correction.weights @ (correction.phi - mean) ** 2, 1e-300))
    tolerated = _TOLERATED_SHIFT + 3.0 / np.sqrt(found.effective_sample_size)
    same_mean = np.max(np.abs(found.phi.mean(axis=0) - mean) / sd) < tolerated
    same_size = np.max(np.abs(np.log(found.phi.std(axis=0) / sd))) < tolerated
    return bool(same_mean and same_size)


def _first_draws(
    modes: Sequence[tuple[np.ndarray, np.ndarray]], num_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (M, D) of an equal mixture of t-distributions about the modes, and its log density (M,)."""
    sizes = [len(part) for part in np.array_split(np.arange(num_draws), len(modes))]
    parts = [
        student_draws(mean, factor, num_draws=size, seed=seed + 1000 * k, df=_DEGREES_OF_FREEDOM)[0]
        for k, ((mean, factor), size) in enumerate(zip(modes, sizes, strict=True))
    ]
    phi = np.concatenate(parts)
    densities = [
        np.log(size / num_draws) + student_log_density(phi, mean, factor, df=_DEGREES_OF_FREEDOM)
        for (mean, factor), size in zip(modes, sizes, strict=True)
    ]
    return phi, logsumexp(densities, axis=0)


def evaluate(
    graph: ContractedGraph, phi: np.ndarray, chunk: int = _CHUNK, lost: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """`ContractedGraph.log_density` in chunks of one size, so that its kernels are not compiled again; without the
    datasets that are ``lost``, see `ContractedGraph.log_joint`."""
    size = -(-len(phi) // chunk) * chunk
    padded = np.concatenate([phi, np.repeat(phi[-1:], size - len(phi), axis=0)])
    factors, errors = [], []
    for plate in graph.plates:
        parts = [plate.log_factors(padded[i : i + chunk]) for i in range(0, size, chunk)]
        values, error = (np.concatenate(part, axis=1)[:, : len(phi)] for part in zip(*parts, strict=True))
        factors.append(values)
        errors.append(error)
    return graph.log_joint(phi, factors, lost), factors, errors


def _weigh(
    graph: ContractedGraph, mean: np.ndarray, factor: np.ndarray, phi: np.ndarray, log_proposal: np.ndarray, rounds: int
) -> Correction:
    target, factors, errors = evaluate(graph, phi)
    raw = np.where(np.isfinite(target), target, -np.inf) - log_proposal
    smoothed, k_hat = pareto_smooth(raw)
    if len(np.unique(phi, axis=0)) < len(phi):  # the proposal is narrower than rounding: equal weights mean nothing
        k_hat = np.inf
    log_weight = smoothed if _GOOD_K_HAT < k_hat < np.inf else raw
    gaussian = student_log_density(phi, mean, factor, df=np.inf) - log_proposal
    total, total_gaussian, num = logsumexp(log_weight), logsumexp(gaussian), len(phi)
    log_weight, gaussian = log_weight - total, gaussian - total_gaussian
    # the mean of the Gaussian's weights is one: its error on these draws is that of the target, as far as the two agree
    overlap = _regression(np.exp(log_weight), np.exp(gaussian))
    log_evidence = float(total - np.log(num) - overlap * (total_gaussian - np.log(num)))
    effective = float(np.exp(-logsumexp(2.0 * log_weight)))
    return Correction(
        phi,
        log_weight,
        gaussian,
        log_evidence,
        float(k_hat),
        effective,
        rounds,
        1,
        factors,
        errors,
        float(np.sqrt(max(1.0 / effective - 1.0 / num, 0.0))),
    )


def _regression(target: np.ndarray, gaussian: np.ndarray) -> float:
    centred = gaussian - gaussian.mean()
    variance = float(centred @ centred)
    return float(np.clip(centred @ (target - target.mean()) / variance, 0.0, 1.0)) if variance > 0 else 1.0


def _next_draws(
    correction: Correction,
    mean: np.ndarray,
    factor: np.ndarray,
    whitened: np.ndarray,
    num_draws: int,
    seed: int,
    theta: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of a mixture fitted to the weighted draws, a part of them still from the t around EP and a part as wide as
    the priors; where a few draws have all the weight there is nothing to fit, and the t is widened. With ``theta`` (M,
    D), the draws in the user's coordinates, another part is from where their squared deviations are."""
    dimension = correction.phi.shape[1]
    if not correction.effective_sample_size > dimension + 2.0:
        wider = factor * 2.0**correction.num_rounds
        return student_draws(mean, wider, num_draws=num_draws, seed=seed, df=_DEGREES_OF_FREEDOM)
    standard = np.linalg.solve(factor, (correction.phi - mean).T).T
    fitted = mixtures.fit(standard, correction.weights, 4, num_steps=20)
    proposal = mixtures.widened(fitted, _WIDENED, _WIDENED_WEIGHTS)
    if theta is not None:
        deviation = theta - correction.weights @ theta
        share = correction.weights * np.max(deviation**2 / (correction.weights @ deviation**2), axis=1)
        tails = mixtures.fit(standard, share / np.sum(share), 4, num_steps=20)
        proposal = mixtures.combine(mixtures.widened(tails, _WIDENED, _WIDENED_WEIGHTS), proposal, _TAIL_FRACTION)
    # weights are bounded by the likelihood where the priors are drawn from: a scatter that may be zero has a long tail
    scale = np.sqrt(np.diag(factor @ factor.T))
    prior = np.where(whitened, 0.0, mean), np.diag(np.where(whitened, 1.0, _WIDER * scale))
    student = mean, factor
    sizes = [int(fraction * num_draws) for fraction in (_STUDENT_FRACTION, _PRIOR_FRACTION)]
    parts = [
        student_draws(*part, num_draws=size, seed=seed + 10 * k, df=_DEGREES_OF_FREEDOM)[0]
        for k, (part, size) in enumerate(zip((student, prior), sizes, strict=True))
    ]
    num_fitted = num_draws - sum(sizes)
    drawn = mixtures.draws(proposal, uniform_points(num_fitted, 1 + dimension, seed + 100))
    phi = np.concatenate([*parts, mean + drawn @ factor.T])
    log_volume = float(np.sum(np.log(np.diag(factor))))
    densities = [
        np.log(size / num_draws) + student_log_density(phi, *part, df=_DEGREES_OF_FREEDOM)
        for part, size in zip((student, prior), sizes, strict=True)
    ]
    standard = np.linalg.solve(factor, (phi - mean).T).T
    densities.append(np.log(num_fitted / num_draws) + mixtures.log_density(proposal, standard) - log_volume)
    return phi, logsumexp(densities, axis=0)
