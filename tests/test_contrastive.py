"""Contrastive learning as a user runs it."""

import csv
import json
import sys
from typing import get_args, get_type_hints

import pytest

from new_algorithm import contrastive
from new_algorithm.cli.errors import UserError
from new_algorithm.contrastive import LR, Config, check_rows, objective
from new_algorithm.record.run import Run

SCRIPT = "new_algorithm/contrastive.py"
SUBJECTS = ("learnt", "random", "pixels", "supervised")
SMALL = ("--dataset", "strokes", "--train-limit", 600, "--epochs", 3, "--batch-size", 32)
SMALL += ("--width", 4, "--queue", 300, "--labels", 50, 200)
SMALL += ("--supervised", "--supervised-steps", 30)


def test_every_optimizer_has_a_rate():
    assert get_args(get_type_hints(Config)["optimizer"]) == tuple(LR)


@pytest.mark.parametrize("flag", ["batch_size", "queue", "labels"])
def test_more_than_there_are_rows_is_refused(flag):
    more = (2000,) if flag == "labels" else 2000
    with pytest.raises(UserError, match=f"--{flag.replace('_', '-')} 2000 .* 1500 training rows"):
        check_rows(Config(**{flag: more}), 1500)
    check_rows(Config(), 1500)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"concentration": 1.0}, "--concentration: nothing without --negatives hard"),
        ({"class_prior": 0.0}, "--class-prior: nothing without --negatives hard"),
        ({"supervised_steps": 2000}, "--supervised-steps: nothing without --supervised"),
    ],
)
def test_flags_that_mean_nothing_are_refused(flags, words):
    with pytest.raises(UserError, match=words):
        Config(**flags).settings  # noqa: B018


def test_flags_beside_another_have_defaults_and_may_be_0():
    assert Config().settings.keys() == {"epochs", "lr"}
    usual = {"concentration": 1.0, "class_prior": 0.1}
    assert usual.items() <= Config(negatives="hard").settings.items()
    given = {"concentration": 0.0, "class_prior": 0.0, "supervised_steps": 7}
    settings = Config(negatives="hard", supervised=True, **given).settings
    assert given.items() <= settings.items()
    hard = objective(Config(negatives="hard", concentration=0.0, class_prior=0.3))
    assert (hard.keywords["concentration"], hard.keywords["class_prior"]) == (0.0, 0.3)


def test_data_that_are_not_there_are_named_before_anything_is_written(tmp_path, monkeypatch):
    flags = ("--dataset", "mnist1d", "--data-dir", str(tmp_path), "--tag", "no_series")
    monkeypatch.setattr(sys, "argv", [SCRIPT, *flags])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError, match=r"no mnist1d\.npz there"):
        contrastive.main()


def test_what_is_learnt_without_labels_beats_a_random_encoder_from_few(work_tree, run_script):
    finished = run_script(SCRIPT, *SMALL, "--negatives", "hard", "--tag", "views")
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / "views"
    with (folder / "label_efficiency.csv").open() as file:
        rows = {(row["features"], int(row["labels"])): row for row in csv.DictReader(file)}
    assert rows.keys() == {(f, n) for f in SUBJECTS for n in (50, 200, 600)}
    probe = {key: float(row["probe_accuracy_fraction"]) for key, row in rows.items()}
    assert probe["learnt", 50] > probe["random", 50] + 0.05
    record = json.loads((folder / "run.json").read_text())
    numbers = record["final_metrics"]
    assert numbers["probe_accuracy_50_labels_fraction"] == probe["learnt", 50]
    assert numbers["random_probe_accuracy_all_labels_fraction"] == probe["random", 600]
    assert numbers["supervised_probe_accuracy_all_labels_fraction"] > 0.5
    assert numbers["test_accuracy_fraction"] == probe["learnt", 200]
    assert numbers["uniformity"] < -0.3
    assert not any("one point" in text for text in record["anomalies"])
    figures = work_tree / "figures" / "views"
    assert (figures / "label_efficiency.png").stat().st_size > 10_000
