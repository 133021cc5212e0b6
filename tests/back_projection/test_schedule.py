"""How far an iteration steps."""

import numpy as np
import pytest

from new_algorithm.back_projection.schedule import (
    constant,
    decay_of_a_run,
    scheduled,
    warm_up_and_decay,
)


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


@pytest.mark.parametrize("name", ["warm-up-decay", "constant"])
@pytest.mark.parametrize("iterations", [1, 2, 999])
def test_schedules_by_name_stay_in_the_unit_interval(name, iterations):
    factors = [scheduled(name)(i, iterations) for i in range(iterations)]
    assert all(0 < factor <= 1 for factor in factors)
    if name == "constant":
        assert factors == [constant(i, iterations) for i in range(iterations)] == [1.0] * iterations
    else:
        assert factors == [warm_up_and_decay(i, iterations, 0.3) for i in range(iterations)]


def test_what_decays_over_a_run_grows_with_the_root_of_its_steps_once_it_is_long():
    assert decay_of_a_run(0.2, 1) == decay_of_a_run(0.2, 1_000) == 0.2
    in_all = [steps * decay_of_a_run(0.2, steps) for steps in (1_000, 4_000, 16_000)]
    np.testing.assert_allclose(in_all, [200, 400, 800])
