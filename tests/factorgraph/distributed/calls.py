"""What is called in workers: it has to be importable there."""

from __future__ import annotations

import os
import time
from pathlib import Path


def square(x):
    return x * x


def where():
    return os.getpid()


def environment(name):
    return os.environ.get(name)


def dies(code):
    os._exit(code)


def dies_once(path):
    if not Path(path).exists():
        Path(path).touch()
        os._exit(9)
    return "second time"


def never_ends():
    while True:
        pass


def sleeps(seconds):
    time.sleep(seconds)
    return os.getpid()


def fails():
    raise ValueError("no such galaxy")


def leaves():
    raise SystemExit(3)


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def fails_oddly():
    raise Odd("odd", 1)


def returns_lambda():
    return lambda: 0
