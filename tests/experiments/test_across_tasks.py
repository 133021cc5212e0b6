"""The baseline over many tasks: margins, what it costs, and their place in the report."""

from dataclasses import replace

import pytest

from new_algorithm.experiments.across_tables import across_table, margins_table
from new_algorithm.experiments.across_tasks import across_tasks, margin_of
from new_algorithm.experiments.quantities import metric
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.report import write_report
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import EXPERIMENT, MNIST, TAG, ablation, write_record

NAMES = ("back projection", "Adam", "SGD + momentum")
MANY = replace(
    EXPERIMENT,
    tasks=tuple(replace(MNIST, name=f"table {at}") for at in range(6)),
    variations=tuple(one for one in EXPERIMENT.variations if one.name in NAMES),
    seeds=(0, 1, 2),
    trials=0,
)


def set_scores(runs):
    """Back projection is 2 points above Adam on even tasks and 1 below on odd ones, for half of its
    time; 10 points above SGD, for twice of its time. Seeds differ alike."""
    for row in runs:
        even = int(row["task"][-1]) % 2 == 0
        score = {"back projection": 0.9, "Adam": 0.88 if even else 0.91, "SGD + momentum": 0.8}
        seconds = {"back projection": 1.0, "Adam": 2.0, "SGD + momentum": 0.5}
        row["test_accuracy"] = score[row["variation"]] + 0.01 * row["seed"]
        row["train_cpu_seconds"] = seconds[row["variation"]]


@pytest.fixture
def found(tmp_path):
    write_record(Layout(tmp_path), MANY, set_scores)
    return across_tasks(read_experiment(TAG, Layout(tmp_path)))


def test_shares_losses_and_ratios(found):
    adam, sgd = found.rivals
    assert (adam.name, sgd.name) == NAMES[1:]
    assert (adam.held, sgd.held) == (3, 6)
    worst = adam.worst(in_points=True)
    assert (worst.task, worst.mean) == ("table 1", pytest.approx(-1.0))
    assert adam.worst(in_points=False) is None
    assert (adam.cpu_ratio, sgd.cpu_ratio) == (pytest.approx(0.5), pytest.approx(2.0))
    assert found.ranks.mean(axis=0).tolist() == [1.5, 1.5, 3.0]
    assert sgd.wilcoxon_p is None  # equal differences cannot be tested
    assert adam.wilcoxon_p > 0.05


def test_the_tables_say_it(found):
    first, second = across_table(found, "back projection"), margins_table(found)
    row = next(row for row in first.rows if row[0] == "Adam")
    assert row[1:3] == ["1.50", "3 of 6 (50%)"]
    assert str(row[3]) == "−1.00 (table 1)"
    assert row[5:8] == ["0.50", "0.50", "0"]
    assert [str(cell) for cell in second.rows[0][2:]] == ["+2.00 ± 0.00", "+10.00 ± 0.00"]
    assert second.rows[1][2].strong  # it is worse there
    assert not second.rows[0][2].strong


def test_a_margin_of_an_error_is_in_percent_of_the_rivals_mean():
    ours, theirs = {0: 0.9, 1: 1.2, 2: 0.9}, {0: 1.0, 1: 1.0, 2: 1.0}
    margin = margin_of("t", ours, theirs, metric("rmse"))
    # differences 10, −20, 10: mean 0, sd √300, standard error 10
    assert (margin.mean, margin.standard_error) == (pytest.approx(0.0), pytest.approx(10.0))
    assert not margin.in_points
    assert margin_of("t", {0: 1.05, 1: 1.05}, {0: 1.0, 1: 1.0}, metric("rmse")).holds is False
    worse = margin_of("t", {0: 1.0, 1: 1.1, 2: 1.05}, theirs, metric("rmse"))
    assert (worse.mean, worse.holds) == (pytest.approx(-5.0), False)
    within = margin_of("t", {0: 0.9, 1: 1.15, 2: 1.0}, theirs, metric("rmse"))
    assert (within.mean, within.holds) == (pytest.approx(-5 / 3), True)


def test_a_task_with_a_missing_score_is_left_out(tmp_path):
    def change(runs):
        set_scores(runs)
        runs[0]["test_accuracy"] = ""

    write_record(Layout(tmp_path), MANY, change)
    assert across_tasks(read_experiment(TAG, Layout(tmp_path))).tasks == [
        f"table {at}" for at in range(1, 6)
    ]


def test_nothing_is_said_of_few_tasks_or_of_an_ablation(tmp_path):
    few = replace(MANY, tasks=MANY.tasks[:4])
    parts = replace(ablation(), tasks=MANY.tasks, seeds=(0, 1))
    for name, experiment in (("few", few), ("parts", parts)):
        (tmp_path / name).mkdir()
        write_record(Layout(tmp_path / name), experiment, tag=TAG)
        assert across_tasks(read_experiment(TAG, Layout(tmp_path / name))) is None


def test_the_report_has_the_tables_and_the_figure(tmp_path, monkeypatch):
    monkeypatch.setattr("new_algorithm.experiments.report.draw_task", lambda *_: [])
    layout = Layout(tmp_path)
    seventh = replace(MNIST, name="table 8")  # the even ones are more
    write_record(layout, replace(MANY, tasks=(*MANY.tasks, seventh)), set_scores)
    files = {path.name: path for path in write_report(TAG, layout)}
    page, twin = (files[name].read_text(encoding="utf-8") for name in ("report.html", "README.md"))
    assert files["mean_ranks.svg"].read_text(encoding="utf-8").startswith("<?xml")
    assert "![mean_ranks](mean_ranks.svg)" in twin
    for text in (page, twin):
        assert "Over all tasks" in text
        assert "How much better back projection is" in text
    assert "| task | back projection | Adam | SGD + momentum |" in twin  # turned: many tasks
