"""An experiment as a user runs it: in processes of its own, continued, and refused."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from new_algorithm import compare_methods
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments import scheduler
from new_algorithm.experiments.definition import load_experiment
from tests.processes import assert_ends, assert_one_clear_line, starting, workers_of

COMPARE = "new_algorithm/compare_methods.py"
DEFINITION = """
hypothesis = "FOOF is better than ProxProp."
baseline = "FOOF / ISAAC"
methods = ["foof", "prox_prop"]
trials = 2
seeds = 2

[tasks."tiny"]
dataset = "synthetic"
train_limit = 300
widths = [6]
epochs = 2

[tasks."tiny, by loss"]
dataset = "synthetic"
train_limit = 300
widths = [6]
epochs = 2
metrics = ["loss"]
"""
TIMES = ("train_cpu_seconds", "train_wall_seconds", "peak_memory_mb")


def runs(work_tree, tag):
    with (work_tree / "ploting_data" / tag / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def definition(tmp_path_factory):
    path = tmp_path_factory.mktemp("definition") / "mine.toml"
    path.write_text(DEFINITION)
    return path


def test_comparison_is_carried_out_and_goes_on(definition, work_tree, run_script):
    command = (COMPARE, definition, "--tasks", "tiny")
    finished = run_script(*command)
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / "mine"
    first = runs(work_tree, "mine")
    assert [(row["task"], row["variation"], row["seed"]) for row in first] == [
        ("tiny", name, seed) for name in ("FOOF / ISAAC", "ProxProp") for seed in "01"
    ]
    assert "[8/8, 0 s left]" in finished.stdout  # four trials and four runs
    assert "test_" not in finished.stdout  # the test rows are for the report
    assert (work_tree / "figures" / "mine" / "report.html").stat().st_size > 5000
    assert json.loads((folder / "run.json").read_text())["status"] == "completed"

    lost = folder / "tiny.FOOF_ISAAC.1"
    shutil.rmtree(lost)
    kept = {path: path.read_bytes() for path in folder.glob("tiny.*/*")}
    again = run_script(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("CPU s") == 1
    assert {path: path.read_bytes() for path in kept} == kept
    assert (lost / "run.json").is_file()
    assert runs(work_tree, "mine") == first


def test_no_worker_outlives_a_comparison_and_one_that_is_killed_is_one_line(
    definition, work_tree, tmp_path
):
    path = tmp_path / "long.toml"
    path.write_text(definition.read_text().replace("epochs = 2", "epochs = 1_000_000"))
    command = [sys.executable, str(work_tree / COMPARE), str(path), "--tag", "killed"]
    command += ["--tasks", "tiny", "--trials", "0", "--runs", "1"]
    with starting() as start:
        first = start(command)
        worker = worker_of(first)
        first.kill()
        first.wait()
        assert_ends(worker)
        second = start(command)
        os.kill(worker_of(second), signal.SIGKILL)
        told = second.communicate(timeout=120)
    finished = subprocess.CompletedProcess(command, second.returncode, *told)
    assert_one_clear_line(finished, "a worker process was killed", "the same command goes on")
    record = json.loads((work_tree / "ploting_data" / "killed" / "run.json").read_text())
    assert record["status"] == "failed"


def worker_of(process):
    while not (workers := workers_of(process.pid)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    return workers[0]


OF_SCRIPTS = """
hypothesis = "Momentum is better than none."
baseline = "momentum"
trials = 1
seeds = 1

[tasks."small"]
script = "new_algorithm/n_layer_relu_data.py"
flags = ["--dataset", "synthetic", "--train-limit", "500", "--widths", "8"]
metrics = ["accuracy"]

[variations."momentum"]
flags = ["--momentum", "0.9"]
vary = ["batch-size=50,100"]

[variations."none"]
flags = ["--momentum", "0"]
"""


def test_scripts_are_compared_like_methods(tmp_path, work_tree, run_script):
    path = tmp_path / "of_scripts.toml"
    path.write_text(OF_SCRIPTS, encoding="utf-8")
    finished = run_script(COMPARE, path, "--tag", "small", "--", "--epochs", 2)
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / "small"
    for row in runs(work_tree, "small"):
        record = json.loads((work_tree / "ploting_data" / row["tag"] / "run.json").read_text())
        assert record["config"]["epochs"] == 2
        assert float(row["test_accuracy"]) == record["final_metrics"]["test_accuracy_fraction"]
        assert row["settings"].split()[2:4] == ["--epochs", "2"]
    trial = json.loads((folder / "small.momentum.trial_1" / "run.json").read_text())
    assert trial["data"]["held_out"] == "validation"
    assert "test_" not in finished.stdout


@pytest.fixture
def assert_refused(monkeypatch):
    """assert_refused(arguments, *words): in one line, before anything is recorded."""

    def check(arguments, *words):
        monkeypatch.setattr(scheduler, "Run", lambda **_: pytest.fail("it ran"))
        monkeypatch.setattr("sys.argv", ["compare_methods.py", *map(str, arguments)])
        with pytest.raises(UserError) as refusal:
            compare_methods.main()
        assert "\n" not in str(refusal.value)
        assert all(word in str(refusal.value) for word in words)

    return check


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["leaderbord"], ["leaderbord", "leaderboard"]),
        (["absent.toml"], ["absent.toml"]),
        (["leaderboard", "--tasks", "CIFAR"], ["--tasks", "CIFAR", "MNIST, 8 × 64"]),
        (["leaderboard", "--variations", "adamax"], ["--variations", "adamax", "'AdamW'"]),
        (["leaderboard", "--dataset", "cifar"], ["cifar", "mnist"]),
        (["leaderboard", "--epochs", "1", "--cpu-seconds", "1"], ["--epochs", "--cpu-seconds"]),
        (["leaderboard", "--tag", "../x"], ["--tag", "../x"]),
        (["leaderboard", "--runs", "0"], ["--runs 0"]),
        (["leaderboard", "--runs", "999"], ["--runs 999: leaderboard defines 10 seeds"]),
        (["leaderboard", "--trials", "-1"], ["--trials -1"]),
        (["leaderboard", "--workers", "0"], ["--workers 0"]),
    ],
)
def test_what_is_unknown_is_refused_before_anything_happens(arguments, words, assert_refused):
    assert_refused(arguments, *words)


def test_unknown_data_set_of_a_definition_is_refused(tmp_path, assert_refused):
    path = tmp_path / "mine.toml"
    path.write_text(DEFINITION.replace('"synthetic"', '"cifar"'), encoding="utf-8")
    assert_refused([path, "--tag", "faulty"], "cifar", "mnist")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "3"], ["--epochs: small is a script's: give its flags after --"]),
        (["--", "--seed", "3"], ["--seed", "the experiment gives it"]),
        (["--", "--batch-size", "50"], ["--batch-size", "both varied and fixed"]),
        (["--", "--batch", "50"], ["small, momentum: --batch is no flag of new_algorithm/n_layer"]),
    ],
)
def test_what_scripts_do_not_take_is_refused(flags, words, tmp_path, assert_refused):
    path = tmp_path / "of_scripts.toml"
    path.write_text(OF_SCRIPTS, encoding="utf-8")
    assert_refused([path, "--variations", "none", *flags], *words)


def test_methods_take_no_flags_of_scripts(definition, assert_refused):
    assert_refused([definition, "--", "--device", "cuda"], "--device cuda: only scripts take flags")


def said(experiment, **flags):
    config = compare_methods.Config(experiment="mine", **flags)
    return compare_methods.apply_flags(experiment, config)


def test_flags_leave_out_parts_but_never_the_baseline(definition):
    experiment = load_experiment(str(definition))

    def names(**flags):
        parts = said(experiment, **flags)
        return [task.name for task in parts.tasks], [one.name for one in parts.variations]

    tasks, variations = ["tiny", "tiny, by loss"], ["FOOF / ISAAC", "ProxProp"]
    assert names() == (tasks, variations)
    assert names(tasks=("tiny, by loss",)) == (tasks[1:], variations)
    assert names(variations=("ProxProp",)) == (tasks, variations)
    assert names(variations=("FOOF / ISAAC",)) == (tasks, variations[:1])


def test_flags_replace_what_the_tasks_say(definition):
    experiment = load_experiment(str(definition))
    flags = {"dataset": "spirals", "widths": (8, 8, 8), "metric": "auc", "cpu_seconds": 0.5}
    first, *_ = said(experiment, tasks=("tiny",), trials=0, **flags).tasks
    assert first.name == "spirals, 3 × 8"
    assert (first.dataset, first.widths, first.metrics) == ("spirals", (8, 8, 8), ("auc",))
    assert (first.cpu_seconds, first.epochs, first.train_limit) == (0.5, None, 300)
    quarters = replace(experiment, tasks=tuple(replace(t, parts=4) for t in experiment.tasks))
    assert {task.parts for task in said(quarters, epochs=7).tasks} == {1}
    assert {task.parts for task in said(quarters, cpu_seconds=7.0).tasks} == {4}
    by_epochs = said(experiment, epochs=7).tasks
    assert [(task.name, task.epochs) for task in by_epochs] == [("tiny", 7), ("tiny, by loss", 7)]


def test_help_teaches(run_script, tmp_path):
    finished = run_script(COMPARE, "--help", cwd=tmp_path)
    assert finished.returncode == 0
    assert "python " + COMPARE in finished.stdout
