"""The guard: what user code may return or raise, and what becomes of it."""

import decimal

import jax.numpy as jnp
import numpy as np
import pytest

from searches import Guard, LikelihoodFailedError, LikelihoodTypeError, SearchError, SearchWarning, Target

X = np.array([0.5, -1.0])


@pytest.mark.parametrize(
    "value", [1, 2.5, np.float32(2.5), np.float64(3), np.int64(2), np.array(2.5), True], ids=lambda v: type(v).__name__
)
def test_real_scalars_pass(value):
    assert Guard(lambda x: value)(X) == float(value)


@pytest.mark.parametrize(
    "value",
    [
        1j,
        np.complex128(1),
        None,
        "1.0",
        np.zeros(1),
        np.zeros(3),
        [1.0],
        (1.0, 2.0),
        {},
        np.array(1j),
        decimal.Decimal(1),
    ],
    ids=repr,
)
def test_anything_else_is_an_error_at_once(value):
    guard = Guard(lambda x: value)
    with pytest.raises(LikelihoodTypeError, match="must return one real number, got"):
        guard(X)


def test_an_array_is_told_to_sum():
    with pytest.raises(LikelihoodTypeError, match=r"shape \(3,\).*\.sum\(\)"):
        Guard(lambda x: np.zeros(3))(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, np.float32("nan")])
def test_nan_and_plus_infinity_are_bad(value):
    guard = Guard(lambda x: value if x[0] > 0 else 0.0)
    assert guard(-X) == 0.0
    assert guard(X) == -np.inf
    assert (guard.num_calls, guard.num_bad) == (2, 1)


def test_minus_infinity_is_an_answer():
    guard = Guard(lambda x: -np.inf, floor=-1e99)
    assert [guard(X) for _ in range(200)] == [-1e99] * 200
    assert guard.num_bad == 0


def fails(x):
    raise ZeroDivisionError("no light")


def test_exceptions_are_recorded_with_the_point_and_the_users_line():
    guard = Guard(fails, names=("a", "b"), to_parameters=lambda x: 10 * x)
    assert guard(X) == -np.inf
    [point] = guard.bad_points
    np.testing.assert_array_equal(point.parameters, 10 * X)
    assert "ZeroDivisionError: no light" in point.reason
    assert 'raise ZeroDivisionError("no light")' in point.reason
    assert "a = 5, b = -10" in guard.report()


def test_only_the_first_ten_bad_points_are_kept():
    guard = Guard(lambda x: np.nan if x[0] > 0 else 0.0)
    guard.batch(np.repeat([[-1.0], [1.0]], 30, axis=0))
    assert guard.num_bad == 30
    assert len(guard.bad_points) == 10


def test_always_raising_fails_early_with_the_cause():
    guard = Guard(fails)
    with pytest.raises(LikelihoodFailedError, match="no light") as caught:
        guard.batch(np.zeros((1000, 2)))
    assert guard.num_calls == 10
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_too_many_bad_points_fail():
    guard = Guard(lambda x: np.nan if x[0] < 0.6 else 0.0)
    with pytest.raises(LikelihoodFailedError, match="too many"):
        guard.batch(np.random.default_rng(0).random((1000, 1)))
    assert guard.num_calls < 200


def test_a_few_bad_points_are_a_warning():
    guard = Guard(lambda x: np.nan if x[0] < 0.1 else 0.0)
    guard.batch(np.random.default_rng(0).random((1000, 1)))
    with pytest.warns(SearchWarning, match=r"failed at \d+ of 1000 points"):
        guard.finish()


@pytest.mark.filterwarnings("error")
def test_rare_bad_points_pass_in_silence():
    guard = Guard(lambda x: 1 / 0 if x[0] < 1 / 2000 else 0.0)
    guard.batch(np.linspace(0, 1, 2001)[:, None])
    guard.finish()
    assert guard.num_bad == 1


def test_the_likelihood_may_write_into_its_argument():
    def greedy(x):
        x[:] = 7.0
        return 0.0

    point = X.copy()
    Guard(greedy)(point)
    np.testing.assert_array_equal(point, X)


def test_judging_a_batch():
    guard = Guard(floor=-1e99)
    values = guard.judge(np.arange(4.0)[:, None], np.array([1.0, np.nan, np.inf, -np.inf]))
    np.testing.assert_array_equal(values, [1.0, -1e99, -1e99, -1e99])
    assert guard.num_bad == 2
    with pytest.raises(SearchError, match="without a function"):
        guard(X)


def test_keyboard_interrupt_is_not_caught():
    def stop(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Guard(stop)(X)


@pytest.mark.parametrize(
    "log_likelihood",
    [lambda x, data: x, lambda x, data: x[:1], lambda x, data: jnp.sum(x) * 1j, lambda x, data: None],
    ids=["array", "array of one", "complex", "none"],
)
def test_jax_targets_refuse_what_is_no_scalar_while_tracing(log_likelihood):
    target = Target(names=("a", "b"), log_likelihood=log_likelihood)
    with pytest.raises(LikelihoodTypeError, match="must return one real number"):
        target.log_likelihoods(np.zeros((3, 2)))
