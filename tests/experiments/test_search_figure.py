"""The figure of a search: every trial where it belongs, and what mattered, where it is known."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.experiments.search import importances
from new_algorithm.experiments.search_figure import SEARCH_FILE, draw_search
from new_algorithm.record.figures import draw_run
from new_algorithm.record.files import save_csv
from new_algorithm.record.layout import Layout


def write(folder, count, diverged=()):
    rates = 10 ** np.linspace(-3, 0, count)
    rows = [
        {
            "trial": number + 1,
            "value": -math.inf if number in diverged else 0.9 - abs(math.log10(rate) + 1),
            "state": "diverged" if number in diverged else "complete",
            "cpu_seconds": 1.0,
            "epochs": 2,
            "settings": json.dumps({"lr": rate, "batch": ["64", "128", "1e-3 1"][number % 3]}),
        }
        for number, rate in enumerate(rates.tolist())
    ]
    save_csv(folder / SEARCH_FILE, rows)
    return rates


@pytest.mark.filterwarnings("error")
def test_every_trial_the_best_and_the_diverged_are_shown(tmp_path):
    rates = write(tmp_path, 13, diverged=(11, 12))
    figure = Figure()
    draw_search(figure, tmp_path / SEARCH_FILE)
    bars, lr, batch = figure.axes
    assert [label.get_text() for label in bars.get_yticklabels()][-1] == "lr"
    assert lr.get_xscale() == "log"
    trials, best, diverged = lr.lines
    np.testing.assert_allclose(trials.get_xdata(), rates[:11])
    assert best.get_xdata() == pytest.approx(rates[np.argmin(abs(np.log10(rates) + 1))])
    np.testing.assert_allclose(diverged.get_xdata(), rates[11:])
    assert diverged.get_ydata().max() < trials.get_ydata().min()
    assert [tick.get_text() for tick in batch.get_xticklabels()] == ["1e-3 1", "64", "128"]
    places = np.round(batch.lines[0].get_xdata())
    np.testing.assert_array_equal(places, [(1, 2, 0)[number % 3] for number in range(11)])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("count", "diverged"), [(1, ()), (3, (0, 1, 2)), (9, range(9))])
def test_few_trials_and_none_that_is_sound_are_drawn(count, diverged, tmp_path):
    write(tmp_path, count, diverged)
    figure = Figure()
    draw_search(figure, tmp_path / SEARCH_FILE)
    assert "not to be told" in figure.axes[0].texts[0].get_text()


def test_the_record_gives_a_picture_and_the_same_vectors_each_time(tmp_path):
    layout = Layout(tmp_path)
    layout.record("t").mkdir(parents=True)
    write(layout.record("t"), 9)
    tables = {SEARCH_FILE: (draw_search, None)}
    (picture,) = draw_run("t", layout, tables)
    assert picture == layout.figures("t") / "search_trials.png"
    first = picture.read_bytes()
    draw_run("t", layout, tables)
    assert picture.read_bytes() == first


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
