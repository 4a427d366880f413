"""Measure every case of `tests/cases` and write `docs/accuracy.md`, its table.

    python docs/make_accuracy.py SHARED            # all cases, one process each (an hour)
    python docs/make_accuracy.py SHARED seeds ...  # those named; the other rows stay

SHARED is the folder of published data. What was measured is kept in `docs/accuracy.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.cases.case import LARGEST_SHIFT, LARGEST_SPREAD  # noqa: E402
from tests.cases.catalogue import CASES  # noqa: E402
from tests.cases.measurement import measure  # noqa: E402

MEASURED = ROOT / "docs" / "accuracy.json"
PAGE = ROOT / "docs" / "accuracy.md"
LONGEST = 3600.0  # seconds

INTRODUCTION = f"""# Accuracy

Published data sets, each with a posterior that was computed independently of this library (exact quadrature or linear
algebra, or long Markov chains), solved by expectation propagation and by one global search. `python
docs/make_accuracy.py` measures this table; the graphs are in `tests/cases`, one short module a data set.

- *shift*: the largest difference of a mean, in standard deviations of the reference, and *sd ratio*: the range of the
  standard deviations over those of the reference; of the shared variables, in the user's coordinates. Where a variance
  is infinite or the mass of a scale reaches zero: the largest difference of a quartile, and the ratio of the widths
  from 5 to 95 %. *Private shift* is of the variables that one dataset alone reads.
- *log Z*: log evidence minus the exact one, in nats, where that is known, with the error that the answer itself gives.
- *k-hat* and *inner error* (in posterior standard deviations) are what the answer says about itself. EP's is the
  corrected answer where k-hat is below 0.7.
- *CPU s*: the first time, compilation included, and once more with a new graph of the same kind.
- A search is "contracted" where it explores the shared variables alone, the private ones integrated out.
- *verdict*: *within* says that shift is at most {LARGEST_SHIFT} and sd ratio within {LARGEST_SPREAD} of one, *warned*
  that the answer said of itself that it may be wrong.

"""
HEADER = ("case", "method", "shift", "sd ratio", "private shift", "log Z", "k-hat", "inner error", "CPU s", "verdict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("cases", nargs="*", metavar="case")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one case, in this process
    asked = parser.parse_args()
    if asked.here:
        rows = [asdict(row) | {"verdict": row.verdict} for row in measure(CASES[asked.cases[0]], asked.shared / "data")]
        print(json.dumps(rows))
        return
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    for name in asked.cases or CASES:
        print(name, flush=True)
        measured[name] = in_a_process(asked.shared, name)
        measured = {name: measured[name] for name in CASES if name in measured}
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n")
        PAGE.write_text(page(measured))


def in_a_process(shared: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one case, from a fresh process, so that nothing is compiled before."""
    command = [sys.executable, __file__, str(shared), name, "--here"]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LONGEST,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return json.loads(done.stdout.splitlines()[-1])


def page(measured: dict[str, list[dict[str, Any]]]) -> str:
    lines = [HEADER, ("---",) * len(HEADER)]
    concerns = []
    for rows in measured.values():
        for row in rows:
            lines.append(cells(row))
            if row["concern"]:
                concerns.append(f"- {row['title']}, {row['method']}: {row['concern']}\n")
    said = "\n## What the answers said\n\n" + "".join(concerns) if concerns else ""
    return INTRODUCTION + "".join(f"| {' | '.join(line)} |\n" for line in lines) + said


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    shared, private = row["shared"], row["private"]
    again = "" if row["seconds_again"] is None else f", {row['seconds_again']:.1f}"
    difference = "" if row["exact_log_evidence"] is None else row["log_evidence"] - row["exact_log_evidence"]
    return (
        row["title"],
        row["method"],
        f"{shared['shift']:+.3f}",
        f"{shared['lowest_ratio']:.3f} .. {shared['highest_ratio']:.3f}",
        f"{private['shift']:+.3f}" if private else "",
        f"{difference:+.3f} +- {row['log_evidence_error']:.3f}" if difference != "" else "",
        number(row["k_hat"], ".2f"),
        number(row["inner_error"], ".3f"),
        f"{row['seconds']:.1f}{again}",
        row["verdict"],
    )


def number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


if __name__ == "__main__":
    main()
