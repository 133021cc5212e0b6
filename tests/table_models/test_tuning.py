"""The search keeps to its time, never prefers what came to nothing, and draws within the space."""

import math

import numpy as np

from new_algorithm.methods.method import Choice, Range
from new_algorithm.record.clock import TrainingClock
from new_algorithm.table_models.tuning import draw, random_search

SPACE = {"rate": Range(1e-3, 1e1), "width": Choice((8, 16))}


def search(error_of, seconds=10.0, per_trial=1.0):
    """Search with a clock that each trial advances."""
    clock, asked = TrainingClock(), []

    def timed(settings):
        asked.append(settings)
        clock.cpu_seconds += per_trial
        return error_of(settings)

    return random_search(SPACE, timed, seconds, clock, np.random.default_rng(3)), asked


def test_the_least_error_wins_and_the_defaults_come_first():
    found, asked = search(lambda settings: abs(math.log(settings.get("rate", 1e9))))
    assert found.trials == len(asked) == 10
    assert asked[0] == {}
    assert found.settings == min(asked[1:], key=lambda one: abs(math.log(one["rate"])))
    assert search(lambda settings: float(bool(settings)))[0].settings == {}


def test_a_trial_that_came_to_nothing_is_not_chosen():
    found, _ = search(lambda settings: settings.get("rate", math.nan))
    assert found.settings != {}


def test_at_least_one_trial_is_made_however_long_it_takes():
    found, asked = search(lambda _: 1.0, seconds=0.5)
    assert (found.trials, asked) == (1, [{}])


def test_draws_are_even_in_the_logarithm():
    rng = np.random.default_rng(0)
    drawn = [draw(SPACE, rng) for _ in range(4000)]
    rates = np.log10([one["rate"] for one in drawn])
    assert -3 <= rates.min() < rates.max() <= 1
    np.testing.assert_allclose(np.histogram(rates, 4, (-3, 1))[0], 1000, atol=100)
    assert {one["width"] for one in drawn} == {8, 16}
