"""Ranks, differences and losses, against statistics computed here from the invented numbers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from new_algorithm.experiments.leaderboard import leaderboard, losses_of_baseline
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import EXPERIMENT, HIGGS, METHODS, MNIST, TAG, write_record

BASELINE = "back projection"


@pytest.fixture
def recorded(tmp_path):
    """recorded(change) -> the record, its runs as `change` leaves them, and those."""

    def make(change=lambda runs: None):
        runs = write_record(Layout(tmp_path), change=change)
        return read_experiment(TAG, Layout(tmp_path)), runs

    return make


def scores(runs, task, variation, column="test_accuracy"):
    return np.array(
        [row[column] for row in runs if (row["task"], row["variation"]) == (task.name, variation)]
    )


def give(runs, task, variation, column, values):
    own = [row for row in runs if (row["task"], row["variation"]) == (task.name, variation)]
    for row, value in zip(own, values, strict=True):
        row[column] = value


def test_means_intervals_and_order_are_those_of_the_runs(recorded):
    record, runs = recorded()
    standings = leaderboard(record, MNIST)
    means = [scores(runs, MNIST, one.variation).mean() for one in standings]
    assert means == sorted(means, reverse=True)
    assert {one.variation for one in standings} == set(METHODS)
    for one, mean in zip(standings, means, strict=True):
        values = scores(runs, MNIST, one.variation)
        half = stats.t.ppf(0.975, 9) * values.std(ddof=1) / np.sqrt(10)
        np.testing.assert_allclose(
            [one.summary.mean, one.summary.sd, one.summary.low, one.summary.high],
            [mean, values.std(ddof=1), mean - half, mean + half],
            atol=1e-12,
        )


def test_p_values_are_of_pairs_and_corrected_over_the_methods_of_the_task(recorded):
    record, runs = recorded()
    compared = {one.variation: one.comparison for one in leaderboard(record, MNIST)}
    assert compared.pop(BASELINE) is None
    raw = {
        name: stats.ttest_rel(scores(runs, MNIST, name), scores(runs, MNIST, BASELINE)).pvalue
        for name in compared
    }
    largest = 0.0
    for at, name in enumerate(sorted(raw, key=raw.get)):  # Holm's steps, written out
        largest = max(largest, min(1.0, (len(raw) - at) * raw[name]))
        assert compared[name].t_p == pytest.approx(largest, rel=1e-6)
        assert compared[name].significant == (largest < 0.05)
    differences = scores(runs, MNIST, "Adam") - scores(runs, MNIST, BASELINE)
    assert compared["Adam"].difference.mean == pytest.approx(differences.mean())


def test_less_loss_is_better(tmp_path):
    task = replace(MNIST, metrics=("loss",))
    runs = write_record(Layout(tmp_path), replace(EXPERIMENT, tasks=(task, HIGGS)))
    standings = leaderboard(read_experiment(TAG, Layout(tmp_path)), task)
    means = [scores(runs, task, one.variation, "test_loss").mean() for one in standings]
    assert means == sorted(means)


def test_bold_are_the_best_and_what_cannot_be_told_from_it(recorded):
    shift = np.linspace(-1e-3, 1e-3, 10)

    def change(runs):
        for name in METHODS:
            give(runs, MNIST, name, "test_accuracy", 0.5 + 0.01 * shift)
        give(runs, MNIST, "Adam", "test_accuracy", 0.9 + shift)
        give(runs, MNIST, "L-BFGS", "test_accuracy", 0.9 - 1e-9 - shift)  # the same but for chance
        give(runs, MNIST, "SGD + momentum", "test_accuracy", 0.9 + shift)  # the same

    record, _ = recorded(change)
    best = {one.variation for one in leaderboard(record, MNIST) if one.among_best}
    assert best == {"Adam", "L-BFGS", "SGD + momentum"}


def test_a_method_with_runs_that_left_no_score_is_last_and_never_best(recorded):
    def change(runs):
        give(runs, MNIST, "Adam", "test_accuracy", [""] + [0.999] * 9)

    record, _ = recorded(change)
    *_, last = leaderboard(record, MNIST)
    assert (last.variation, last.unscored, last.among_best) == ("Adam", 1, False)
    assert last.comparison.t_p is None
    assert last.comparison.reason


def test_a_method_without_any_score_is_not_compared(recorded):
    record, _ = recorded()
    *_, last = leaderboard(record, HIGGS)  # its first metric is the AUC
    assert (last.variation, last.unscored) == ("block coordinate descent", 10)
    assert (last.summary, last.comparison) == (None, None)


MEASURED = {"test_accuracy": 1, "train_loss": -1, "train_cpu_seconds": -1, "peak_memory_mb": -1}


def make_baseline_best(runs):
    rng = np.random.default_rng(1)
    for task in (MNIST, HIGGS):
        for column, better in {**MEASURED, "test_auc": 1}.items():
            for name in METHODS:
                lead = 0.1 * better * (name == BASELINE)
                give(runs, task, name, column, 0.5 + lead + 0.001 * rng.normal(size=10))


def test_a_baseline_that_is_best_at_all_loses_at_nothing(recorded):
    record, _ = recorded(make_baseline_best)
    assert list(losses_of_baseline(record, MNIST)) == []
    assert list(losses_of_baseline(record, HIGGS)) == []


@pytest.mark.parametrize("column", MEASURED)
def test_a_planted_loss_is_found(recorded, column):
    def change(runs):
        make_baseline_best(runs)
        better = scores(runs, MNIST, BASELINE, column) + 0.01 * MEASURED[column]
        better[0] += 0.001  # not the same difference for every seed
        give(runs, MNIST, "L-BFGS", column, better)

    record, _ = recorded(change)
    ((quantity, better),) = losses_of_baseline(record, MNIST)
    assert (quantity.column, [*better]) == (column, ["L-BFGS"])
    advantage, comparison = better["L-BFGS"]
    assert advantage.mean == pytest.approx(0.01 + 1e-4 * MEASURED[column])
    assert advantage.low < advantage.mean < advantage.high
    assert comparison.significant
    assert list(losses_of_baseline(record, HIGGS)) == []
