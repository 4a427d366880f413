"""Likelihoods that JAX cannot trace are called by any executor: the answer is that of one process."""

from __future__ import annotations

import warnings
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.distributed.workers import Lost, Workers
from tests.factorgraph.distributed import calls
from tests.factorgraph.distributed.surveys import Called, numbers_of, survey


def solved(executor=None, method="population", num=12, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numbers_of(survey(method, num).optimise(executor=executor, correct=False, **settings))


@pytest.fixture(scope="module")
def alone():
    return solved()


def assert_same(found, expected, rtol=1e-9):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-12, err_msg=name)


class Serial(Executor):
    """Counts what it is given, and answers at once."""

    def __init__(self):
        self.num = 0

    def submit(self, fn, /, *args, **kwargs):
        self.num += 1
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_threads_gives_the_same_answer(alone, workers):
    with ThreadPoolExecutor(workers) as pool:
        assert_same(solved(pool), alone)


def test_processes_give_the_same_answer(alone):
    with fg.SpawnPool(workers=2) as pool:
        assert_same(solved(pool), alone)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_processes_gives_the_same_answer(alone, workers):
    with fg.SpawnPool(workers) as pool:
        assert_same(solved(pool), alone)


def test_an_unknown_executor_is_sent_what_can_be_pickled(alone):
    executor = Serial()
    assert_same(solved(executor), alone)
    assert executor.num > 0


def test_direct_likelihoods_are_called_by_it_too():
    expected = solved(method="direct")
    executor = Serial()
    assert_same(solved(executor, method="direct"), expected)
    assert executor.num > 12


@pytest.mark.slow
def test_joint_integrals_are_made_by_it_too():
    expected = solved(method="joint", num=4)
    with fg.SpawnPool(workers=2) as pool:
        assert_same(solved(pool, method="joint", num=4), expected)


def test_what_a_checkpoint_has_is_not_called_again(alone, tmp_path):
    assert_same(solved(Serial(), checkpoint=tmp_path), alone)
    executor = Serial()
    assert_same(solved(executor, checkpoint=tmp_path), alone)
    assert executor.num == 1  # the first dataset is tried before, to see what it returns
    assert_same(solved(checkpoint=tmp_path), alone)


def test_a_class_that_cannot_be_sent_is_named_with_the_remedy():
    class Hidden(Called):
        pass

    with fg.SpawnPool(workers=1) as pool, pytest.raises(fg.GraphError, match=r"d0: Hidden cannot be sent .*top level"):
        survey(num=3, analysis=Hidden).optimise(executor=pool)


def test_threads_take_what_cannot_be_sent(alone):
    class Hidden(Called):
        pass

    with ThreadPoolExecutor(2) as pool:
        result = survey(analysis=Hidden).optimise(executor=pool, correct=False)
    np.testing.assert_allclose(result.log_evidence, alone["log_evidence"], rtol=1e-9)


@pytest.mark.parametrize("executor", [3, ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(executor):
    with pytest.raises(fg.GraphError, match="cannot submit"):
        survey(num=3).optimise(executor=executor)


# --- calls ---


def squares(executor, num, seconds=None):
    workers = Workers(executor)
    if seconds is not None:
        workers._size = lambda *_: seconds
    return list(workers.each([Square(x) for x in range(num)]))


class Square:
    def __init__(self, x, does=calls.square):
        self.x, self.does = x, does

    def __call__(self):
        return self.does(self.x)


@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
def test_answers_come_in_order_whatever_the_chunks(chunk):
    with ThreadPoolExecutor(3) as pool:
        assert squares(pool, 100, chunk) == [x * x for x in range(100)]
    assert squares(Serial(), 100, chunk) == [x * x for x in range(100)]


def fails_at_three(x):
    if x == 3:
        raise ValueError("three")
    return x


def leaves_at_three(x):
    if x == 3:
        raise SystemExit(3)
    return x


def test_what_a_call_raises_is_raised_here():
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="three"):
        list(Workers(pool).each([Square(x, fails_at_three) for x in range(9)]))


def test_a_call_that_leaves_is_lost():
    with ThreadPoolExecutor(2) as pool:
        found = list(Workers(pool).each([Square(x, leaves_at_three) for x in range(5)]))
    assert found == [0, 1, 2, Lost("it called sys.exit(3)"), 4]


def test_closed_workers_call_in_place():
    workers = Workers(Serial())
    workers.close()
    assert not workers.are_there
    assert list(workers.each([Square(2)])) == [4]
