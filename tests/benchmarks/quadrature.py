"""The exact answer of the survey, ``python -m tests.benchmarks.quadrature SHARED --n 1000``: one line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from tests.benchmarks.survey import exact

SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--n", type=int, default=1_000)
    parser.add_argument("--second-prior", action="store_true", help="the density that PyAutoFit samples")
    asked = parser.parse_args()
    found = exact(asked.shared, "hier", asked.n, SEED, second_prior=asked.second_prior)
    print(json.dumps(found._asdict() | {"n": asked.n, "seconds": time.process_time()}))


if __name__ == "__main__":
    main()
