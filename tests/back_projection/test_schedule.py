"""Which rows an iteration sees and how far it steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.back_projection.schedule import (
    SCHEDULES,
    constant,
    minibatches,
    warm_up_and_decay,
)


@given(rows=st.integers(2, 200), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_an_epoch_sees_no_row_twice_and_leaves_less_than_a_batch(rows, share, seed):
    batch_size = max(1, int(share * rows))
    batches = list(minibatches(np.random.default_rng(seed), rows, batch_size))
    seen = np.concatenate(batches)
    assert all(len(batch) == batch_size for batch in batches)
    assert len(np.unique(seen)) == len(seen)
    assert rows - len(seen) < batch_size


def test_full_batch_is_every_row_in_place():
    (everything,) = minibatches(np.random.default_rng(0), 5, 5)
    np.testing.assert_array_equal(np.arange(5)[everything], np.arange(5))


def test_epochs_differ_and_seeds_repeat():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(minibatches(rng, 50, 10))) for _ in range(2))
    again = np.concatenate(list(minibatches(np.random.default_rng(0), 50, 10)))
    assert (first != second).any()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("warm_up", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("iterations", [1, 2, 10, 1001])
def test_step_factor_rises_then_falls_and_is_never_zero(iterations, warm_up):
    factors = np.array([warm_up_and_decay(i, iterations, warm_up) for i in range(iterations)])
    assert ((factors > 0) & (factors <= 1)).all()
    peak = factors.argmax()
    assert (np.diff(factors[: peak + 1]) > 0).all()
    assert (np.diff(factors[peak:]) < 0).all()
    assert peak / iterations == pytest.approx(warm_up, abs=1 / iterations)
    assert factors.mean() == pytest.approx(0.5, abs=0.5 / iterations)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("iterations", [1, 2, 999])
def test_schedules_by_name_stay_in_the_unit_interval(name, iterations):
    factors = [SCHEDULES[name](i, iterations) for i in range(iterations)]
    assert all(0 < factor <= 1 for factor in factors)
    if name == "constant":
        assert factors == [constant(i, iterations) for i in range(iterations)] == [1.0] * iterations
    else:
        assert factors == [warm_up_and_decay(i, iterations, 0.3) for i in range(iterations)]
