"""The command ``factorgraph``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence

from factorgraph.errors import FactorGraphError
from factorgraph.shards import work

DONE, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong arguments (by `SystemExit`, as ``argparse``
    does)."""
    given = _parser().parse_args(arguments)
    number, of = given.shard
    began = time.monotonic()
    try:
        work(given.run, number, of, patience=given.patience)
    except FactorGraphError as error:
        print(f"factorgraph worker: {error}", file=sys.stderr)
        return FAILED
    except Exception:  # of the user's script; a batch system wants an exit code, and its user the whole story
        traceback.print_exc()
        return FAILED
    print(f"shard {number} of {of}: done in {time.monotonic() - began:.0f} s")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="factorgraph", description="Solve graphical models over many datasets.")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser(
        "worker",
        help="do a share of a run",
        description="Do a share of the run that factorgraph.prepare_run wrote into a folder. All shares together do "
        "all of it, also where some never start; kill and start them as you like.",
    )
    worker.add_argument("run", metavar="RUN", help="the folder")
    worker.add_argument(
        "--shard",
        type=_shard,
        default=(0, 1),
        metavar="i/N",
        help="which of N shares, from 0 to N - 1 or from 1 to N, such as $SLURM_ARRAY_TASK_ID/8",
    )
    worker.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to wait for a share at work that finishes nothing, before doing its part (default %(default)s)",
    )
    return parser


def _shard(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and int(of) > 0 and int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; say i/N with i from 0 to N - 1, or from 1 to N")
    return int(number) % int(of), int(of)
