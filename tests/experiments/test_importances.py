"""What mattered in a search, where it is known."""

import math

import numpy as np
import pytest

from new_algorithm.experiments.search_figure import importances


def trials(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "lr": float(10 ** rng.uniform(-4, 0)),
            "noise": float(10 ** rng.uniform(-4, 0)),
            "solver": str(rng.choice(["cg", "exact"])),
            "fixed": 1,
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("decisive", ["lr", "noise"])
def test_planted_number_comes_first(decisive):
    settings = trials(40)
    values = [-((math.log10(one[decisive]) + 2) ** 2) for one in settings]
    shares = importances(settings, values)
    assert next(iter(shares)) == decisive
    assert shares[decisive] > 0.6
    assert sum(shares.values()) == pytest.approx(1)
    assert "fixed" not in shares


def test_planted_category_comes_first_though_the_others_diverge():
    settings = trials(40)
    values = [float(n) if one["solver"] == "cg" else -math.inf for n, one in enumerate(settings)]
    assert next(iter(importances(settings, values))) == "solver"


def test_trials_that_diverged_are_the_worst_and_not_the_best():
    settings = trials(60)
    values = [
        -((math.log10(one["noise"]) + 2) ** 2) if one["solver"] == "cg" else -math.inf
        for one in settings
    ]
    shares = importances(settings, values)  # among the good ones the noise is what is special
    assert [*shares] == ["noise", "solver", "lr"]
    assert shares["noise"] > 0.5


def test_only_the_order_of_values_counts():
    settings = trials(30)
    values = np.array([-abs(math.log10(one["lr"]) + 2) for one in settings])
    assert importances(settings, values.tolist()) == importances(settings, np.exp(values).tolist())


@pytest.mark.parametrize("values", [[], [1.0] * 20, [-math.inf] * 20, [1.0, 2.0, 3.0]])
def test_nothing_is_told_from_few_trials_or_equal_ones(values):
    assert importances(trials(len(values)), values) == {}
