import math

import numpy as np
import pytest

from new_algorithm.record.epoch_tally import EpochTally


def test_numbers_are_means_and_counts():
    tally = EpochTally()
    tally.solves(0, [1, 2, 0], [])
    tally.solves(1, [3, 2, 0], [1, 3])
    tally.decrease(0.2, 0.1)
    tally.decrease(0.4, -0.5)
    tally.trouble(1, ArithmeticError("layer 2: bad"))
    numbers = tally.numbers()
    np.testing.assert_allclose(numbers.pop("cg_iterations"), [2, 2, 0])
    assert numbers == {
        "predicted_step_decrease": pytest.approx(0.3),
        "actual_step_decrease": pytest.approx(-0.2),
        "steps_taken_back": 1,
        "stalled_solves": 2,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_decreases_that_are_not_finite_leave_both_means(bad):
    tally = EpochTally()
    tally.decrease(0.2, 0.1)
    tally.decrease(5.0, bad)
    tally.decrease(bad, 5.0)
    tally.solves(0, [0], [])
    numbers = tally.numbers()
    assert numbers["predicted_step_decrease"] == pytest.approx(0.2)
    assert numbers["actual_step_decrease"] == pytest.approx(0.1)


def test_epoch_without_a_judged_step_has_no_decrease():
    tally = EpochTally()
    tally.solves(0, [4, 0], [])
    numbers = tally.numbers()
    assert numbers["predicted_step_decrease"] == numbers["actual_step_decrease"] == 0
    assert numbers["steps_taken_back"] == numbers["stalled_solves"] == 0
    assert tally.anomalies(1) == []


@pytest.mark.parametrize(("times", "words"), [(1, "1 step taken"), (3, "3 steps taken")])
def test_anomaly_counts_and_names_the_first_step_taken_back(times, words):
    tally = EpochTally()
    for iteration in range(times):
        tally.trouble(7 + iteration, ArithmeticError(f"layer {iteration + 2}: it broke"))
    (text,) = tally.anomalies(4)
    assert text == f"epoch 4: {words} back, the first in iteration 7, layer 2: it broke"


@pytest.mark.parametrize(("layers", "words"), [([5], "1 solve,"), ([5, 2], "2 solves,")])
def test_anomaly_counts_and_names_the_first_stalled_solve(layers, words):
    tally = EpochTally()
    tally.solves(8, [1], [])
    tally.solves(9, [1], layers)
    (text,) = tally.anomalies(2)
    assert text.startswith("epoch 2: conjugate gradients stalled in " + words)
    assert text.endswith("the first in layer 5 at iteration 9")


def test_tallies_share_nothing():
    EpochTally().trouble(0, ArithmeticError("layer 1: x"))
    assert EpochTally().troubles == []
