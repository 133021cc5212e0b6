"""The search of a script's flags as a user runs it."""

import csv
import json
import shlex
import shutil
import subprocess
import sys

import pytest

from new_algorithm import search_settings
from new_algorithm.cli.errors import UserError, own_words
from new_algorithm.experiments.flag_space import arguments, parse_space
from new_algorithm.methods.method import Choice, Range
from new_algorithm.record.layout import Layout
from tests.processes import assert_one_clear_line
from tests.toy_script import TOY, WITHOUT_VALIDATION

SEARCH = "new_algorithm/search_settings.py"
FIXED = ("--", "--hidden-dim", "8", "--epochs", "1")
VARY = ("--vary", "lr=1e-2..1", "batch-size=32,64")


def table(work_tree, tag):
    with (work_tree / "ploting_data" / tag / "search_trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def toy(work_tree):
    """A script with the flags and the record of a real one, and nothing to train."""
    (work_tree / "toy.py").write_text(TOY)
    return "toy.py"


@pytest.fixture(scope="module")
def searched(toy, run_script):
    """The process of a search with two trials, tag s."""
    return run_script(SEARCH, toy, *VARY, "--tag", "s", "--trials", 2, *FIXED)


@pytest.fixture
def assert_refused(work_tree, monkeypatch):
    """assert_refused(arguments, *words): in this process, in one line, before anything is run."""

    def check(given, *words):
        monkeypatch.setattr(sys, "argv", [SEARCH, *given])
        monkeypatch.setattr(search_settings, "Layout", lambda: Layout(work_tree))
        monkeypatch.setattr(search_settings, "Run", None)
        before = sorted(work_tree.glob("ploting_data/*/*"))
        with pytest.raises(UserError) as refusal:
            search_settings.main()
        assert "\n" not in str(refusal.value)
        for word in words:
            assert word in str(refusal.value)
        assert sorted(work_tree.glob("ploting_data/*/*")) == before

    return check


def test_trials_are_runs_of_the_script_on_validation(searched, toy, work_tree):
    assert searched.returncode == 0, searched.stderr
    rows = table(work_tree, "s")
    assert [row["trial"] for row in rows] == ["1", "2"]
    for number, row in enumerate(rows, start=1):
        folder = work_tree / "ploting_data" / f"s_trial_{number}"
        run = json.loads((folder / "run.json").read_text())
        assert run["data"]["held_out"] == "validation"
        assert run["final_metrics"]["validation_accuracy_fraction"] == float(row["value"])
        settings = json.loads(row["settings"])
        assert run["config"]["lr"] == settings["lr"]
        assert run["config"]["batch_size"] == int(settings["batch_size"])
        assert run["config"]["hidden_dim"] == 8
        assert (float(row["cpu_seconds"]), int(row["epochs"])) == (1.5, 1)
        assert f"Trial {number}: lr={settings['lr']:g} batch_size=" in searched.stdout
    best = json.loads(max(rows, key=lambda row: float(row["value"]))["settings"])
    flags = f"--lr {best['lr']:g} --batch-size {best['batch_size']}"
    assert f"{shlex.join(['python', toy, *FIXED[1:]])} {flags}\n" in searched.stdout
    assert (work_tree / "figures" / "s" / "search_trials.png").stat().st_size > 5000


def test_search_grows_repeats_what_was_killed_and_runs_nothing_else_again(
    searched, toy, work_tree, run_script
):
    rows, folder = table(work_tree, "s"), work_tree / "ploting_data"
    untouched = (folder / "s_trial_2" / "run.json").read_bytes()
    command = (SEARCH, toy, *VARY, "--tag", "s", "--trials", 3, *FIXED)
    (work_tree / "kill_s_trial_3").touch()
    killed = run_script(*command)
    assert_one_clear_line(killed, "s_trial_3: toy.py: killed by SIGKILL", "tries this trial again")
    assert table(work_tree, "s") == rows
    assert json.loads((folder / "s" / "run.json").read_text())["status"] == "failed"
    (work_tree / "kill_s_trial_3").unlink()
    finished = run_script(*command)
    assert finished.returncode == 0, finished.stderr
    assert table(work_tree, "s")[:2] == rows
    assert [row["state"] for row in table(work_tree, "s")] == ["complete"] * 3
    assert json.loads((folder / "s_trial_3" / "run.json").read_text())["status"] == "completed"
    assert (folder / "s_trial_2" / "run.json").read_bytes() == untouched


def test_search_that_grows_leaves_an_unrelated_run_alone(searched, toy, work_tree, assert_refused):
    other = work_tree / "ploting_data" / "s_trial_4" / "run.json"
    other.parent.mkdir()
    other.write_text(json.dumps({"argv": [toy, "--tag", "s_trial_4"], "status": "completed"}))
    try:
        own = [toy, *VARY, "--tag", "s", "--trials", "4", *FIXED]
        assert_refused(own, "s_trial_4/ exists already")
    finally:
        shutil.rmtree(other.parent)


def test_another_search_under_the_tag_is_refused(searched, toy, assert_refused):
    own = [toy, *VARY, "--tag", "s", "--trials", "3"]
    assert_refused([*own, *FIXED[:-1], "2"], "--tag s", "another fixed", "--overwrite")
    assert_refused([*own, "--seed", "1", *FIXED], "--tag s", "another seed", "--overwrite")


def test_taken_tags_of_trials_are_refused(toy, work_tree, assert_refused):
    taken = work_tree / "ploting_data" / "w_trial_2"
    taken.mkdir(parents=True)
    (taken / "run.json").touch()
    own = [toy, *VARY, "--trials", "2", "--tag", "w"]
    assert_refused([*own, *FIXED], "w_trial_2/ exists already", "--overwrite")


def test_scripts_own_words_end_the_search(toy, work_tree, run_script):
    finished = run_script(SEARCH, toy, "--vary", "rate=1e-3..1", "--tag", "u")
    assert_one_clear_line(finished, "--rate is no flag of toy.py")
    assert not (work_tree / "ploting_data" / "u_trial_1").exists()


def test_script_without_validation_rows_is_judged_by_the_metric_named(
    work_tree, run_script, assert_refused
):
    (work_tree / "toy_without.py").write_text(WITHOUT_VALIDATION)
    given = ["toy_without.py", "--vary", "lr=1e-3..1e3", "--tag", "v"]
    assert_refused(given, "--metric")
    options = ("--metric", "test_loss", "--trials", 2)  # of seed 0: 1.6, and 6.5, which diverges
    finished = run_script(SEARCH, *given, *options)
    assert finished.returncode == 0, finished.stderr
    sound, diverged = table(work_tree, "v")
    assert (diverged["state"], diverged["value"]) == ("diverged", "-inf")
    assert sound["state"] == "complete"
    run = json.loads((work_tree / "ploting_data" / "v_trial_1" / "run.json").read_text())
    assert float(sound["value"]) == -run["final_metrics"]["test_loss_nats"]
    assert "Best: trial 1, test_loss=" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.py", *VARY], ["absent.py", "script"]),
        (["bench_mnist.py", "--vary", "lr"], ["--vary lr", "FLAG=LOW..HIGH"]),
        (["bench_mnist.py", "--vary", "lr=1..0.1"], ["lr=1..0.1", "LOW < HIGH"]),
        (["bench_mnist.py", "--vary", "epochs=1.5..3"], ["epochs: 1.5", "whole numbers"]),
        (["bench_mnist.py", "--vary", "batch-size=32,x"], ["batch-size: x", "whole numbers"]),
        (["bench_mnist.py", "--vary", "optimizer=sgd,sdg"], ["sdg", "sgd, momentum, adam"]),
        (["bench_mnist.py", "--vary", "optimizer=1..3"], ["optimizer: 1", "sgd, momentum, adam"]),
        (["bench_mnist.py", "--vary", "one-cycle=1..3"], ["one-cycle: 1", "on,off"]),
        (["bench_mnist.py", "--vary", "lr=1e-2,big"], ["lr: big", "takes numbers"]),
        (["bench_mnist.py", "--vary", "lrr=1e-3..1"], ["--lrr is no flag of bench_mnist.py"]),
        (["bench_mnist.py", *VARY, "--", "--epoch", "2"], ["--epoch is no flag of bench_mnist.py"]),
        (["bench_mnist.py", *VARY, "--vary", "epochs=1,2"], ["--vary is given 2 times"]),
        (["bench_mnist.py", *VARY, "--trials", "0"], ["--trials 0"]),
        (["bench_mnist.py", *VARY, "--", "--held-out", "test"], ["--held-out", "test rows"]),
        (["bench_mnist.py", *VARY, "--", "--held_out=test"], ["--held-out", "test rows"]),
        (["bench_mnist.py", *VARY, "--", "--lr", "0.1"], ["--lr", "both"]),
        (["bench_mnist.py", *VARY, "--", "--tag", "x"], ["--tag", "the search gives it"]),
        (["bench_mnist.py", *VARY, "--", "--threads", "1"], ["--threads", "before --"]),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments, words, assert_refused):
    assert_refused(arguments, *words)


def test_whole_numbers_between_the_ends_are_tried(toy, work_tree, run_script):
    varied = ("--vary", "hidden-dim=16..512", "batch-size=8..64")
    finished = run_script(SEARCH, toy, *varied, "--tag", "i", "--trials", 3, "--", "--epochs", 1)
    assert finished.returncode == 0, finished.stderr
    for row in table(work_tree, "i"):
        settings = json.loads(row["settings"])
        run = json.loads(
            (work_tree / "ploting_data" / f"i_trial_{row['trial']}" / "run.json").read_text()
        )
        for name, low, high in (("hidden_dim", 16, 512), ("batch_size", 8, 64)):
            assert run["config"][name] == settings[name]
            assert isinstance(run["config"][name], int)
            assert low <= settings[name] <= high


def test_help_teaches(run_script, tmp_path):
    finished = run_script(SEARCH, "--help", cwd=tmp_path)
    assert finished.returncode == 0
    assert "python " + SEARCH in finished.stdout


def test_flags_that_vary_are_read_and_given_back():
    space = parse_space(["lr=1e-3..1", "step-bounds=1e-3 2e-2,1e-2  0.1", "one-cycle=on,off"])
    assert space == {
        "lr": Range(1e-3, 1.0),
        "step_bounds": Choice(("1e-3 2e-2", "1e-2 0.1")),
        "one_cycle": Choice(("on", "off")),
    }
    given = {"lr": 0.01234, "step_bounds": "1e-3 2e-2", "one_cycle": "on"}
    expected = ["--lr", "0.01234", "--step-bounds", "1e-3", "2e-2", "--one-cycle"]
    assert arguments(given) == expected
    assert arguments(given | {"one_cycle": "off"}) == expected[:-1]
    assert arguments({"epochs": 2.5e6, "lr": 3e-7}) == ["--epochs", "2500000", "--lr", "3e-07"]


@pytest.mark.parametrize(
    "piece",
    [
        *("lr", "=1..2", "--lr=1..2", "lr=", "lr=1", "lr=1,1", "lr=1,,2", "lr=0..1", "lr=-1..1"),
        *("lr=1..1", "lr=1..inf", "lr=1..x", "lr=1..2..3", "lr=nan..1", "lr=on,off,1"),
    ],
)
def test_malformed_piece_is_named(piece):
    with pytest.raises(UserError) as refusal:
        parse_space([piece])
    assert piece in str(refusal.value)


def test_a_flag_varies_once():
    with pytest.raises(UserError, match="already"):
        parse_space(["batch-size=1,2", "batch_size=3,4"])


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("notice: x\nerror: epoch 1: too far\n", "epoch 1: too far"),
        ("╭─ Value error ─╮\n│ Error parsing --lr: x │\n│ ──── │\n│ help │\n╰───╯", None),
        ("Traceback\n  File\nValueError: no\n", "ValueError: no"),
        ("", "it failed without a message"),
    ],
)
def test_the_line_that_says_what_is_wrong_is_found(stderr, words):
    finished = subprocess.CompletedProcess("", 2, stderr=stderr)
    assert own_words(finished) == (words or "Error parsing --lr: x")
