"""Which run a folder belongs to, and in what another one differs from it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from factorgraph.checkpoint.digest import digest_of, digest_of_source
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.graph.terms import Terms
from factorgraph.model.variable import Variable

FORMAT = 1
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy")
_MOST_NAMED = 5


def manifest_of(
    terms: Terms,
    shared: Sequence[SharedVariable],
    plates: Sequence[Plate],
    names: Mapping[Variable, str],
    settings: Mapping[str, Any],
    optimiser: Any,
) -> dict[str, Any]:
    """What a run's numbers depend on, as JSON.

    Parameters
    ----------
    settings
        By name.
    """
    return {
        "format": FORMAT,
        "versions": {
            "Python": ".".join(platform.python_version_tuple()[:2]),
            "factorgraph": f"source {digest_of_source()}",
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "settings": {
            **{name: _setting(value, names) for name, value in settings.items()},
            "optimiser": None if optimiser is None else f"{type(optimiser).__name__} {digest_of(optimiser)}",
        },
        "shared": {names[s.variable]: _prior_of(s, terms) for s in shared},
        "plates": [_described(plate, names) for plate in plates],
    }


def _setting(value: Any, names: Mapping[Variable, str]) -> Any:
    if isinstance(value, Variable):
        return names.get(value, "a variable of another graph")
    if isinstance(value, (list, tuple)):
        return [_setting(part, names) for part in value]
    if isinstance(value, float):
        return float(value)
    return value if value is None or isinstance(value, (bool, int, str)) else digest_of(value)


def _prior_of(s: SharedVariable, terms: Terms) -> str:
    draw, own = terms.draws.get(s.variable), s.variable
    chosen = terms.families.get(s.variable)
    messages = "" if chosen is None else f", messages {chosen}"
    if draw is not None:
        return f"drawn from {type(draw.family).__name__} {digest_of(draw.family)}{messages}"
    family, parameters = getattr(own, "family", None), getattr(own, "parameters", ())
    numbers = ", ".join(f"{p:.17g}" if isinstance(p, (int, float)) else digest_of(p)[:8] for p in parameters)
    return f"{type(family).__name__}({numbers}){messages}" if family is not None else "unset"


def _described(plate: Plate, names: Mapping[Variable, str]) -> dict[str, Any]:
    signature = plate.signature
    priors = {}
    for role in signature.roles:
        if not role.shared:
            variable = plate.local[0][role.position]
            name = names.get(variable, str(role.position))
            priors[name] = digest_of(role.family, role.kind, plate.arrays.local[:, role.position])[:16]
    optimisers = [getattr(factor, "optimiser", None) for factor in plate.terms[0].factors]
    return {
        "analyses": [cls.__name__ for cls in signature.analyses],
        "model": digest_of(signature, optimisers)[:16],
        "priors": priors,
        "variables": digest_of(plate.shared_index)[:16],
        "names": list(plate.names),
        "data": plate.fingerprints().astype("<u8").tobytes().hex(),
    }


# --- what differs ---


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two manifests differ, in words; empty where they agree."""
    if kept.get("format") != now["format"]:
        return [f"the format of the folder ({kept.get('format')}, now {now['format']})"]
    found = [f"{title} {text}" for title, key in _FLAT for text in _of_mapping(kept[key], now[key])]
    found += _of_plates(kept["plates"], now["plates"])
    return found or ([] if kept == now else ["something else"])


_FLAT = (("the version of", "versions"), ("the setting", "settings"), ("the prior of", "shared"))


def _of_mapping(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = [name for name in dict.fromkeys((*kept, *now)) if kept.get(name, "none") != now.get(name, "none")]
    texts = [f"{name} ({kept.get(name, 'none')}, now {now.get(name, 'none')})" for name in names[:_MOST_NAMED]]
    return texts + ([f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else [])


def _of_plates(kept: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    datasets = [sum(len(p["names"]) for p in plates if p["analyses"]) for plates in (kept, now)]
    if datasets[0] != datasets[1]:
        found.append(f"the number of datasets ({datasets[0]:,}, now {datasets[1]:,})")
    if len(kept) != len(now):
        return [*found, f"the kinds of datasets ({len(kept)}, now {len(now)})"]
    for old, new in zip(kept, now, strict=True):
        found += _of_plate(old, new)
    return found


def _of_plate(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    kind = " and ".join(new["analyses"])
    of_kind = f" of {kind} datasets" if kind else " of a parent's parameter or a prior"
    if old["analyses"] != new["analyses"]:
        return [f"the analysis ({' and '.join(old['analyses']) or 'none'}, now {kind or 'none'})"]
    found = []
    if old["model"] != new["model"]:
        found.append(f"the model or the code{of_kind}")
    found += [f"the prior of {text.split(' ')[0]}{of_kind}" for text in _of_mapping(old["priors"], new["priors"])]
    if old["variables"] != new["variables"]:
        found.append(f"which shared variables are read{of_kind}")
    if len(old["names"]) != len(new["names"]):
        return found
    renamed = [a for a, b in zip(old["names"], new["names"], strict=True) if a != b]
    if renamed:
        found.append(f"the names{of_kind}: {_listed(renamed)}")
    data = [np.frombuffer(bytes.fromhex(p["data"]), "<u8") for p in (old, new)]
    changed = np.flatnonzero(data[0] != data[1])
    if len(changed):
        what = "the data of" if kind else "the numbers of"
        found.append(f"{what} {len(changed):,} of {len(data[0]):,} {kind or 'terms'}: {_listed(new['names'], changed)}")
    return found


def _listed(names: Sequence[str], which: Any = None) -> str:
    chosen = list(names) if which is None else [names[int(i)] for i in which[: _MOST_NAMED + 1]]
    more = ", ..." if len(chosen) > _MOST_NAMED else ""
    return ", ".join(chosen[:_MOST_NAMED]) + more
