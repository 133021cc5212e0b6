"""Reading the record of an experiment: what is there, and what is wrong with it."""

import json
from dataclasses import replace

import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.record.files import read_csv, save_csv
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import DIVERGED, EXPERIMENT, HIGGS, MNIST, TAG, write_record


def test_what_was_written_is_read(tmp_path):
    runs = write_record(Layout(tmp_path))
    record = read_experiment(TAG, Layout(tmp_path))
    assert record.experiment == EXPERIMENT
    expected = {
        row["seed"]: row["test_accuracy"]
        for row in runs
        if (row["task"], row["variation"]) == (MNIST.name, "Adam")
    }
    assert record.values(MNIST.name, "Adam", "test_accuracy") == expected
    assert record.values(HIGGS.name, "block coordinate descent", "test_auc") == {}
    assert record.count("diverged", MNIST.name, "L-BFGS") == len(DIVERGED)
    assert record.count("diverged", HIGGS.name, "L-BFGS") == 0


@pytest.mark.parametrize("text", ["nan", "inf", ""])
def test_a_score_that_is_not_finite_is_no_score(tmp_path, text):
    def spoil(runs):
        runs[0]["test_accuracy"] = text

    runs = write_record(Layout(tmp_path), change=spoil)
    values = read_experiment(TAG, Layout(tmp_path)).values(
        MNIST.name, runs[0]["variation"], "test_accuracy"
    )
    assert sorted(values) == list(range(1, 10))


def test_without_trials_there_is_no_file_of_them(tmp_path):
    write_record(Layout(tmp_path), replace(EXPERIMENT, trials=0))
    assert read_experiment(TAG, Layout(tmp_path)).trials == {}


def _change_rows(change):
    def spoil(folder):
        rows = read_csv(folder / "runs.csv")
        change(rows)
        save_csv(folder / "runs.csv", rows)

    return spoil


def _change_json(change):
    def spoil(folder):
        facts = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
        change(facts)
        (folder / "experiment.json").write_text(json.dumps(facts), encoding="utf-8")

    return spoil


UNSOUND = {
    "no definition": (lambda folder: (folder / "experiment.json").unlink(), "experiment.json"),
    "no runs": (lambda folder: (folder / "runs.csv").unlink(), "runs.csv"),
    "no curves": (lambda folder: (folder / "curves.csv").unlink(), "curves.csv"),
    "not JSON": (lambda folder: (folder / "experiment.json").write_text("{"), "is not JSON"),
    "a list": (lambda folder: (folder / "experiment.json").write_text("[]"), "JSON object"),
    "an entry gone": (_change_json(lambda facts: facts.pop("methods")), "'methods' is missing"),
    "a task spoilt": (
        _change_json(lambda f: f["experiment"].pop("tasks")),
        "experiment: tasks is missing",
    ),
    "a run gone": (_change_rows(lambda rows: rows.pop()), "not one run of each seed"),
    "a run twice": (_change_rows(lambda rows: rows.append(rows[0])), "not one run of each seed"),
    "a word": (_change_rows(lambda rows: rows[1].update(test_auc="good")), "line 3: test_auc"),
    "half a seed": (_change_rows(lambda rows: rows[0].update(seed="0.5")), "line 2: seed '0.5'"),
    "a status": (_change_rows(lambda rows: rows[0].update(status="missing")), "'missing'"),
    "a column gone": (
        _change_rows(lambda rows: [row.pop("train_loss") for row in rows]),
        "line 2: no train_loss",
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_record_is_one_line_that_names_the_file_and_the_remedy(tmp_path, name):
    spoil, message = UNSOUND[name]
    layout = Layout(tmp_path)
    write_record(layout)
    spoil(layout.record(TAG))
    with pytest.raises(UserError) as caught:
        read_experiment(TAG, layout)
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"ploting_data/{TAG}/")
    assert text.endswith("run the experiment again, finished runs are kept")
    assert "\n" not in text
