"""A paper's figure beside ours, and what a report says of epochs."""

from dataclasses import replace

import pytest

from new_algorithm.experiments import report
from new_algorithm.experiments.experiment import Paper, Variation
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.report_text import beside_paper, describe, fairness
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import EXPERIMENT, MNIST, TAG, write_record

PAPER = Paper("Someone (2019)", "Table 2", 0.95, 0.01, ("float32 & not float64",))


def alone(paper):
    """One method on one task, held against a paper."""
    return replace(
        EXPERIMENT, tasks=(MNIST,), variations=EXPERIMENT.variations[:1], paper=paper, trials=0
    )


def recorded(layout, paper, score):
    def change(runs):
        for row in runs:
            row["test_accuracy"] = score + 0.001 * (row["seed"] % 2)  # on average score + 0.0005

    write_record(layout, alone(paper), change)
    return read_experiment(TAG, layout)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.9405, "reproduced within the tolerance"),
        (0.9590, "reproduced within the tolerance"),
        (0.9390, "not reproduced: below the paper's value"),
        (0.9600, "not reproduced: above the paper's value"),
    ],
)
def test_the_verdict_is_on_the_mean(tmp_path, score, verdict):
    table, found = beside_paper(recorded(Layout(tmp_path), PAPER, score), PAPER)
    assert found == verdict
    theirs, ours = table.rows
    assert (theirs[1].text, theirs[1].interval) == ("0.9500", "± 0.0100")
    assert ours[1].text == f"{score + 0.0005:.4f}"


def test_the_report_shows_it_with_its_deviations(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_task", lambda *_: [])
    layout = Layout(tmp_path)
    assert recorded(layout, PAPER, 0.94).experiment.paper == PAPER
    page, twin = (path.read_text(encoding="utf-8") for path in report.write_report(TAG, layout))
    for text in (page, twin):
        assert "Against the paper" in text
        assert "reproduced within the tolerance" in text
        assert "loses at" not in text  # there is nothing to lose against
        assert "Leaderboard" in text
    assert "float32 &amp; not float64" in page


def test_parts_of_a_pass_are_told_and_whose_epochs_are_whole(tmp_path):
    parts = replace(MNIST, parts=4)
    assert "; an epoch is 1/4 of a pass." in describe(parts)
    assert "of a pass" not in describe(MNIST)
    assert "; labels smoothed by 0.1; " in describe(replace(MNIST, label_smoothing=0.1))

    def rules(task, *methods):
        variations = tuple(Variation(key, key) for key in ("adam", *methods))
        of_task = {"tasks": (task,), "variations": variations, "baseline": "adam"}
        write_record(Layout(tmp_path), replace(EXPERIMENT, **of_task))
        found = fairness(read_experiment(TAG, Layout(tmp_path)))
        return [rule for rule in found if "part of a pass" in rule]

    (rule,) = rules(parts, "lbfgs", "foof", "scalable_admm")
    assert "of lbfgs, scalable_admm: these" in rule
    assert rules(parts, "foof") == rules(MNIST, "lbfgs") == []
