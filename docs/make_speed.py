"""Measure time, memory and error against the number of datasets, and write `docs/speed.md` and its picture.

    python docs/make_speed.py SHARED                      # this library, N = 3 to 10,000 (ten minutes)
    python docs/make_speed.py SHARED --peers              # and the rivals, at the sizes that they finish
    python docs/make_speed.py SHARED --sizes 100000       # one size; the other rows stay
    python docs/make_speed.py SHARED --methods numpyro    # one method; the other rows stay
    python docs/make_speed.py SHARED --autofit /path/to/python3.12   # an interpreter that has PyAutoFit
    python docs/make_speed.py SHARED --page               # measure nothing, write page and picture anew

SHARED is the folder of published data. Every method and size runs in a process of its own, on one core; what was
measured is kept in `docs/speed.json`, row by row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.page import page  # noqa: E402
from tests.benchmarks.picture import draw  # noqa: E402
from tests.benchmarks.process import OutOfTime, measure  # noqa: E402
from tests.benchmarks.row import METHODS, row  # noqa: E402

MEASURED = ROOT / "docs" / "speed.json"
PAGE = ROOT / "docs" / "speed.md"
PICTURE = ROOT / "docs" / "figures" / "speed.svg"
SIZES = (3, 10, 100, 1_000, 10_000)
LARGE = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N")
    parser.add_argument("--large", action="store_true", help="100,000 datasets too (half an hour)")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), help="instead of this library's")
    parser.add_argument("--peers", action="store_true", help="NumPyro, BlackJAX and dynesty too")
    parser.add_argument("--autofit", metavar="PYTHON", help="an interpreter that has PyAutoFit: run it too")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {"rows": {}, "exact": {}}
    for name, n in [] if asked.page else wanted(asked):
        print(f"{name}, {n:,} datasets", flush=True)
        add(measured, name, n, asked)
        MEASURED.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
        publish(measured)
    publish(measured)


def wanted(asked: argparse.Namespace) -> list[tuple[str, int]]:
    names, sizes = asked.methods or ["ep"], sorted({*asked.sizes, *((LARGE,) if asked.large else ())})
    if asked.peers:
        names = [*names, *(name for name, method in METHODS.items() if name not in names and not method.is_foreign)]
    if asked.autofit and "autofit" not in names:
        names = [*names, "autofit"]
    return [(name, n) for name in names for n in sizes if METHODS[name].suits(n)]


def add(measured: dict[str, Any], name: str, n: int, asked: argparse.Namespace) -> None:
    """The exact answer, where it is not known yet, and the row."""
    method, shared = METHODS[name], str(asked.shared.resolve())
    reference = ["--second-prior"] if method.is_foreign else []
    key = f"{n}{' with a second prior' if method.is_foreign else ''}"
    if key not in measured["exact"]:
        print("  the exact answer", flush=True)
        command = [sys.executable, "-m", "tests.benchmarks.quadrature", shared, "--n", str(n), *reference]
        measured["exact"][key] = measure(command)
    if method.is_foreign:
        if asked.autofit is None:
            raise SystemExit(f"{name} needs an interpreter that has it: --autofit /path/to/python")
        command = [asked.autofit, str(ROOT / "tests" / "benchmarks" / f"{method.module}.py")]
    else:
        command = [sys.executable, "-m", f"tests.benchmarks.{method.module}"]
    try:
        found = row(measure([*command, shared, "--n", str(n)], limit=method.limit), measured["exact"][key])
    except OutOfTime as late:
        found = {"unfinished": late.seconds}
    measured["rows"][f"{name} {n}"] = {"method": name, "n": n, "machine": machine(), **found}


def machine() -> str:
    """What it was measured on, and how busy that was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"


def publish(measured: dict[str, Any]) -> None:
    order = {name: place for place, name in enumerate(METHODS)}
    rows = sorted(measured["rows"].values(), key=lambda found: (order[found["method"]], found["n"]))
    draw(rows, PICTURE)
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
