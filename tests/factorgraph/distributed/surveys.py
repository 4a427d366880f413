"""Surveys whose likelihood is plain Python, importable where workers are."""

from __future__ import annotations

import math
import os
import time

import numpy as np

import factorgraph as fg

_random = np.random.default_rng(4)
NUM = 12
ERRORS = _random.uniform(0.5, 1.5, 200)
Y = _random.normal(4.0, 1.5, 200) + ERRORS * _random.standard_normal(200)


class Object:
    def __init__(self, x=fg.GaussianPrior(0.0, 10.0)):
        self.x = x


class Called(fg.Analysis):
    """A measurement of x; ``poison`` is done where it is no zero: a number, so that all are one plate."""

    def __init__(self, y, error, poison=0.0, seconds=0.0):
        self.y, self.error, self.poison, self.seconds = y, error, poison, seconds

    def log_likelihood_function(self, instance):
        if float(self.poison):
            self.be_poison()
        until = time.perf_counter() + self.seconds if float(self.seconds) else 0.0
        while until and time.perf_counter() < until:
            pass
        residual = (self.y - float(self.predicted(instance))) / self.error
        return -0.5 * residual**2 - math.log(self.error * math.sqrt(2.0 * math.pi))

    def predicted(self, instance):
        return instance.x

    def be_poison(self):
        if self.poison == 1.0:
            os._exit(9)
        if self.poison == 2.0:
            while True:
                pass
        if self.poison == 3.0:
            raise SystemExit(3)
        if self.poison == 4.0:
            self.be_poison_late()
            return
        raise ValueError("a poisoned dataset")

    def be_poison_late(self):
        """Die at every call from the ``LATE_POISON_CALLS``-th on, which are counted in the file ``LATE_POISON_FILE``."""
        with open(os.environ["LATE_POISON_FILE"], "ab") as file:
            file.write(b".")
            file.flush()
            if file.tell() >= int(os.environ["LATE_POISON_CALLS"]):
                os._exit(9)


class Shifted:
    def __init__(self, x=fg.GaussianPrior(0.0, 10.0), zero=fg.GaussianPrior(0.0, 0.1)):
        self.x, self.zero = x, zero


class CalledWithZero(Called):
    """Its likelihood reads a shared variable."""

    def predicted(self, instance):
        return float(instance.x) + float(instance.zero)


class Level:
    def __init__(self, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.HalfNormalPrior(3.0)):
        self.mean, self.sigma = mean, sigma


class CalledDirectly(Called):
    """No private variable at all."""

    def log_likelihood_function(self, instance):
        if float(self.poison):
            self.be_poison()
        width = math.hypot(float(instance.sigma), self.error)
        residual = (self.y - float(instance.mean)) / width
        return -0.5 * residual**2 - math.log(width * math.sqrt(2.0 * math.pi))


def survey(method="population", num=NUM, poison=None, without=(), seconds=0.0, analysis=None):
    """``poison``: {row: which}."""
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.HalfNormalPrior(3.0))
    zero, level = fg.GaussianPrior(0.0, 0.1), fg.Model(Level)
    factors = []
    for i in range(num):
        cls = analysis or {"population": Called, "joint": CalledWithZero, "direct": CalledDirectly}[method]
        model = {"population": lambda: fg.Model(Object), "joint": lambda: fg.Model(Shifted, zero=zero)}.get(
            method, lambda: level
        )()
        if i in without:
            continue
        if method != "direct":
            parent.add_drawn_variable(model.x)
        made = cls(float(Y[i]), float(ERRORS[i]), float((poison or {}).get(i, 0.0)), float(seconds))
        factors.append(fg.AnalysisFactor(model, made, name=f"d{i}"))
    return fg.FactorGraphModel(*factors, *(() if method == "direct" else (parent,)))


def numbers_of(result):
    """Everything that an answer consists of."""
    solution = result._solution
    found = {
        "mean": solution.answer.mean,
        "ep": solution.ep.mean,
        "phi": solution.phi,
        "log_evidence": result.log_evidence,
    }
    for k, local in enumerate(solution.local):
        if local is not None:
            found |= {f"mean {k}": np.asarray(local.mean), f"draws {k}": np.asarray(local.draws)}
        found[f"calls {k}"] = np.asarray(solution.plates[k].num_calls)
    return found
