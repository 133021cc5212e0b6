"""The search of a script's flags as a user runs it."""

import csv
import json
import shlex

import pytest

from new_algorithm.evidence.script_trials import own_words
from new_algorithm.evidence.varied_flags import arguments, parse_space
from new_algorithm.lab.errors import UserError
from new_algorithm.methods.search_space import Choice, Range

SEARCH = "new_algorithm/search_settings.py"
TINY = ("--", "--dataset", "synthetic", "--train-limit", 300, "--hidden-dim", 8, "--epochs", 1)
VARY = ("--vary", "lr=1e-2..1", "batch-size=32,64")


def assert_one_clear_line(finished, *words):
    assert finished.returncode == 2, finished.stdout + finished.stderr
    text = finished.stderr.strip()
    assert text.startswith("error: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def table(work_tree, tag):
    with (work_tree / "ploting_data" / tag / "search_trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_search_is_carried_out_and_goes_on(work_tree, run_script):
    command = (SEARCH, "bench_mnist.py", *VARY, "--tag", "s", "--trials")
    first = run_script(*command, 2, *TINY)
    assert first.returncode == 0, first.stderr
    rows = table(work_tree, "s")
    records = work_tree / "ploting_data"
    for number, row in enumerate(rows, start=1):
        run = json.loads((records / f"s_trial_{number}" / "run.json").read_text())
        assert run["data"]["held_out"] == "validation"
        assert run["final_metrics"]["validation_accuracy_fraction"] == float(row["value"])
        settings = json.loads(row["settings"])
        assert run["config"]["lr"] == settings["lr"]
        assert run["config"]["batch_size"] == int(settings["batch_size"])
        assert f"Trial {number}: lr={settings['lr']:g} batch_size=" in first.stdout
    best = json.loads(max(rows, key=lambda row: float(row["value"]))["settings"])
    flags = f"--lr {best['lr']:g} --batch-size {best['batch_size']}"
    assert (
        shlex.join(["python", "bench_mnist.py", *map(str, TINY[1:])]) + " " + flags in first.stdout
    )
    for kind in ("png", "svg"):
        assert (work_tree / "figures" / "s" / f"search_trials.{kind}").stat().st_size > 5000

    untouched = (records / "s_trial_2" / "run.json").read_bytes()
    second = run_script(*command, 3, *TINY)
    assert second.returncode == 0, second.stderr
    assert table(work_tree, "s")[:2] == rows
    assert len(table(work_tree, "s")) == 3
    assert (records / "s_trial_2" / "run.json").read_bytes() == untouched

    other = run_script(*command, 3, *TINY[:-1], 2)
    assert_one_clear_line(other, "--tag s", "another fixed", "--overwrite")
    assert len(table(work_tree, "s")) == 3


def test_scripts_own_words_end_the_search(work_tree, run_script):
    finished = run_script(
        SEARCH, "bench_mnist.py", "--vary", "rate=1e-3..1", "--tag", "u", "--trials", 2, *TINY
    )
    assert_one_clear_line(finished, "bench_mnist.py", "Unrecognized options: --rate")
    assert not (work_tree / "ploting_data" / "u_trial_1").exists()


def test_script_without_validation_rows_is_judged_by_the_metric_named(work_tree, run_script):
    teacher = (SEARCH, "new_algorithm/two_layer_relu.py", "--vary", "step-size=0.1..1e90")
    assert_one_clear_line(run_script(*teacher, "--tag", "v", "--", "--epochs", 3), "--metric")
    finished = run_script(
        *teacher, "--metric", "test_loss", "--tag", "v", "--trials", 3, "--", "--epochs", 3
    )
    rows = table(work_tree, "v")
    assert len(rows) == 3
    assert any(row["state"] == "diverged" for row in rows)
    sound = [row for row in rows if row["state"] == "complete"]
    assert all(float(row["value"]) < 0 for row in sound)
    assert finished.returncode == (0 if sound else 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.py", *VARY], ["absent.py", "script"]),
        (["bench_mnist.py", "--vary", "lr"], ["--vary lr", "FLAG=LOW..HIGH"]),
        (["bench_mnist.py", "--vary", "lr=1..0.1"], ["lr=1..0.1", "LOW < HIGH"]),
        (["bench_mnist.py", *VARY, "--trials", "0"], ["--trials 0"]),
        (["bench_mnist.py", *VARY, "--", "--held-out", "test"], ["--held-out", "test rows"]),
        (["bench_mnist.py", *VARY, "--", "--held_out=test"], ["--held-out", "test rows"]),
        (["bench_mnist.py", *VARY, "--", "--lr", "0.1"], ["--lr", "both"]),
        (["bench_mnist.py", *VARY, "--", "--tag", "x"], ["--tag", "the search gives it"]),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments, words, work_tree, run_script):
    before = sorted(work_tree.glob("ploting_data/*"))
    assert_one_clear_line(run_script(SEARCH, *arguments), *words)
    assert sorted(work_tree.glob("ploting_data/*")) == before


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
        ("", "it said nothing"),
    ],
)
def test_the_line_that_says_what_is_wrong_is_found(stderr, words):
    assert own_words(stderr) == (words or "Error parsing --lr: x")
