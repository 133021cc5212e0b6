"""An experiment whose runs are a script's: the same seeds, searches, statistics and reports."""

import shlex
import shutil
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import ExperimentFlags
from new_algorithm.experiments import scheduler
from new_algorithm.experiments.experiment import Experiment, ScriptTask, ScriptVariation
from new_algorithm.experiments.leaderboard import leaderboard
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.scheduler import run_experiment
from new_algorithm.experiments.script import Ended, Script
from new_algorithm.experiments.script_trials import ScriptTrials
from new_algorithm.experiments.search import TrialResult
from new_algorithm.experiments.trainable import SEARCH_SEED
from new_algorithm.record.layout import Layout
from tests.experiments.tiny_experiments import here, json_of, rows_of
from tests.processes import starting
from tests.toy_script import TOY, WITHOUT_VALIDATION

TASK = ScriptTask("toy: bits", "toy_of_flags.py", ("bits_per_character", "accuracy"))
FIXED = ScriptVariation("fixed", ("--lr", "0.5"))
SEARCHED = ScriptVariation("searched", (), ("lr=1e-2..0.4", "batch-size=32,64"))
EXPERIMENT = Experiment(
    "of_scripts", "Less is better.", "fixed", (TASK,), (FIXED, SEARCHED), (0, 1, 2), trials=3
)

ALONE = replace(EXPERIMENT, variations=(FIXED,), seeds=(0,), trials=0)
DEFINITION = """
hypothesis = "h"
baseline = "fixed"
seeds = 1

[tasks."toy: bits"]
script = "toy_of_flags.py"
metrics = ["bits_per_character"]

[variations."fixed"]
flags = ["--lr", "0.5"]
"""


@pytest.fixture(scope="module", autouse=True)
def _toy(work_tree):
    (work_tree / TASK.script).write_text(TOY)
    (work_tree / "toy_without.py").write_text(WITHOUT_VALIDATION)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(scheduler, "_workers", here)


def carry_out(root, experiment=EXPERIMENT, report=False, **flags):
    """Carry out and return the folder of the record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "_workers", here)
        if not report:
            patch.setattr(scheduler, "write_report", lambda tag, layout: [])
        script = root / "new_algorithm" / "compare_methods.py"
        run_experiment(experiment, ExperimentFlags(**flags), script, root)
    return root / "ploting_data" / (flags.get("tag") or experiment.name)


@pytest.fixture(scope="module")
def whole(work_tree):
    return carry_out(work_tree, report=True)


@pytest.fixture
def started(monkeypatch):
    """The tags of the runs that scripts were started for."""
    tags, train = [], Script.train

    def overheard(self, tag, words, overwrite):
        tags.append(tag)
        return train(self, tag, words, overwrite)

    monkeypatch.setattr(Script, "train", overheard)
    return tags


def run_of(folder, variation, last):
    return json_of(folder / f"toy_bits.{variation}.{last}" / "run.json")


def test_trials_are_on_validation_with_a_seed_of_their_own_and_runs_on_test(whole):
    trials = rows_of(whole / "trials.csv")
    assert [row["variation"] for row in trials] == ["searched"] * 3
    lrs = []
    for row in trials:
        run = run_of(whole, "searched", f"trial_{row['trial']}")
        lrs.append(run["config"]["lr"])
        assert (run["config"]["held_out"], run["config"]["seed"]) == ("validation", SEARCH_SEED)
        assert float(row["value"]) == -run["final_metrics"]["validation_bits_per_character"]
    for variation, lr in (("fixed", 0.5), ("searched", min(lrs))):
        for seed in EXPERIMENT.seeds:
            run = run_of(whole, variation, seed)
            assert (run["config"]["held_out"], run["config"]["seed"]) == ("test", seed)
            assert run["config"]["lr"] == lr
            assert not any(name.startswith("validation") for name in run["final_metrics"])


def test_tables_have_what_the_records_have(whole):
    rows = rows_of(whole / "runs.csv")
    assert len(rows) == 6
    for row in rows:
        run = json_of(whole.parent / row["tag"] / "run.json")
        metrics = run["final_metrics"]
        assert float(row["test_bits_per_character"]) == metrics["test_bits_per_character"]
        assert float(row["test_accuracy"]) == metrics["test_accuracy_fraction"]
        assert float(row["train_loss"]) == metrics["train_loss_nats"]
        assert (row["epochs"], row["train_cpu_seconds"]) == ("1", "1.5")
        assert row["peak_memory_mb"] == str(metrics.get("peak_memory_mb", ""))
        assert shlex.split(row["settings"]) == run["argv"][1:-9]  # without what is given to each
        (curve,) = [
            one
            for one in rows_of(whole / "curves.csv")
            if (one["variation"], one["seed"]) == (row["variation"], row["seed"])
        ]
        assert curve["test_bits_per_character"] == row["test_bits_per_character"]
        assert curve["samples"] == ""  # nobody said what an epoch is


def test_statistics_are_those_of_the_records(whole, work_tree):
    record = read_experiment("of_scripts", Layout(work_tree))
    first, second = leaderboard(record, TASK)
    ours, theirs = (
        np.array(
            [
                run_of(whole, name, seed)["final_metrics"]["test_bits_per_character"]
                for seed in EXPERIMENT.seeds
            ]
        )
        for name in ("searched", "fixed")
    )
    assert (first.variation, second.variation) == ("searched", "fixed")  # less is better
    assert first.summary.mean == pytest.approx(ours.mean())
    assert first.comparison.difference.mean == pytest.approx((ours - theirs).mean())
    assert first.comparison.t_p == pytest.approx(ttest_rel(ours, theirs).pvalue)
    assert second.comparison is None


def test_report_tells_of_scripts(whole, work_tree):
    twin = (work_tree / "figures" / "of_scripts" / "README.md").read_text(encoding="utf-8")
    for words in (
        "| method | test bits per character |",
        "Script toy_of_flags.py.",
        "| fixed | flags --lr 0.5 |",
        "lr: log 0.01 to 0.4; batch_size: one of 32, 64",
        "Learning curves are of the runs, on test rows",
    ):
        assert words in twin
    assert "every run trains for" not in twin
    assert "curves_toy_bits" not in twin, "of one epoch there is no curve"


def test_records_of_scripts_lie_below_their_experiment(whole, work_tree):
    index = (work_tree / "figures" / "local_runs.md").read_text(encoding="utf-8")
    assert "[of_scripts](" in index
    assert "toy_bits" not in index
    assert not [*(work_tree / "ploting_data").glob("*toy_bits*")]


def all_but_memory(folder):
    return [row | {"peak_memory_mb": ""} for row in rows_of(folder / "runs.csv")]


def test_what_is_done_is_not_done_again(whole, work_tree, started):
    rows = all_but_memory(whole)
    carry_out(work_tree)
    assert started == []
    shutil.rmtree(whole / "toy_bits.fixed.1")
    carry_out(work_tree)
    assert started == ["toy_bits.fixed.1"]
    assert all_but_memory(whole) == rows


def test_runs_with_other_flags_are_refused(whole, work_tree, started):
    other = replace(EXPERIMENT, variations=(replace(FIXED, flags=("--lr", "0.6")), SEARCHED))
    with pytest.raises(UserError, match=r"toy_bits\.fixed\.0/ was made with other flags.*--overwr"):
        carry_out(work_tree, other)
    assert started == []


def test_diverged_runs_are_counted_and_broken_ones_made_again(work_tree, started):
    far = ScriptVariation("far", ("--lr", "9"))
    experiment = replace(EXPERIMENT, variations=(FIXED, far), seeds=(0, 1), trials=0)
    broken = work_tree / "break_toy_bits.fixed.1"
    broken.touch()
    folder = carry_out(work_tree, experiment, tag="broken", report=True)
    assert {
        (row["variation"], row["seed"]): row["status"] for row in rows_of(folder / "runs.csv")
    } == {
        ("fixed", "0"): "completed",
        ("fixed", "1"): "failed",
        ("far", "0"): "diverged",
        ("far", "1"): "diverged",
    }
    (anomaly,) = json_of(folder / "run.json")["anomalies"]
    assert "a library broke: the same command runs it again" in anomaly
    folder = carry_out(work_tree, experiment, tag="broken")  # once more: no end of the experiment
    assert len(json_of(folder / "run.json")["anomalies"]) == 1
    broken.unlink()
    started.clear()
    carry_out(work_tree, experiment, tag="broken")
    assert started == ["toy_bits.fixed.1"]


def test_a_killed_script_ends_the_experiment_in_one_line(work_tree):
    killed = work_tree / "kill_toy_bits.fixed.0"
    killed.touch()
    with pytest.raises(
        UserError, match=r"toy_bits\.fixed\.0: .*killed by SIGKILL; .* this run again"
    ):
        carry_out(work_tree, ALONE, tag="killed")
    killed.unlink()


@pytest.mark.parametrize("score", ["nan", "inf"])  # as JSON has them
def test_a_trial_whose_metric_is_not_finite_counts_as_diverged(score, tmp_path):
    metrics = {"validation_loss_nats": score, "train_cpu_seconds": 1.5, "epoch": 2}
    ended = Ended({"status": "completed", "final_metrics": metrics}, 0, "")
    script = SimpleNamespace(
        has_validation=True,
        check_flags=lambda words: None,
        argv=lambda words: [*words],
        held_out=lambda part: ["--held-out", part],
        train=lambda *_: ended,
    )
    trials = ScriptTrials(script, [], {}, "loss", 1, Layout(tmp_path))
    assert trials.run("t", {}, overwrite=False) == TrialResult(None, 1.5, 2)


def test_a_metric_that_is_not_recorded_is_named(work_tree):
    task = replace(TASK, metrics=("perplexity",))
    with pytest.raises(UserError, match=r"records no perplexity: name one of .*bits_per_character"):
        carry_out(work_tree, replace(ALONE, tasks=(task,)), tag="unrecorded")


def test_a_metric_of_other_variations_is_told_and_left_empty(work_tree, capsys):
    task = replace(TASK, metrics=("bits_per_character", "perplexity"))
    folder = carry_out(work_tree, replace(ALONE, tasks=(task,)), tag="of_others")
    assert "records no perplexity in " in capsys.readouterr().err
    (row,) = rows_of(folder / "runs.csv")
    assert (row["test_perplexity"], row["status"]) == ("", "completed")
    assert float(row["test_bits_per_character"]) > 0


@pytest.mark.parametrize(
    ("task", "variation", "message"),
    [
        ({}, {"flags": ("--rate", "1")}, r"toy: bits, v: --rate is no flag of toy_of_flags\.py"),
        ({}, {"vary": ("rate=1e-3..1",)}, r"--rate is no flag of toy_of_flags\.py"),
        ({"flags": ("--rate=1",)}, {}, r"--rate is no flag of toy_of_flags\.py"),
        ({"script": "absent.py"}, {}, r"absent\.py is no script of this repository"),
        ({"script": "datasets/load.py"}, {}, r"datasets/load\.py --help .* leaves a record"),
        ({"script": "toy_without.py"}, {"vary": ("lr=1e-3..1",)}, r"no --held-out validation"),
    ],
)
def test_scripts_and_flags_are_checked_before_anything_is_run(task, variation, message, work_tree):
    one = ScriptVariation("v", **variation)
    experiment = replace(
        EXPERIMENT, tasks=(replace(TASK, **task),), variations=(one,), baseline="v"
    )
    with pytest.raises(UserError, match=message):
        carry_out(work_tree, experiment, tag="refused")
    assert not (work_tree / "ploting_data" / "refused").exists()


def test_a_script_without_validation_rows_is_given_no_flag_for_them(work_tree, started):
    task = replace(TASK, script="toy_without.py")
    folder = carry_out(work_tree, replace(ALONE, tasks=(task,), seeds=(3,)), tag="without")
    (row,) = rows_of(folder / "runs.csv")
    assert float(row["test_bits_per_character"]) == pytest.approx(2 * 0.5 * 1.3)
    assert "--held-out" not in run_of(folder, "fixed", 3)["argv"]


def test_a_script_ends_with_the_experiment_that_is_ended(work_tree, tmp_path):
    """Its record says that it was interrupted, and nothing goes on in the background."""
    wait = work_tree / "wait_toy_bits.fixed.0"
    wait.touch()
    definition = tmp_path / "ended.toml"
    definition.write_text(DEFINITION)
    command = [sys.executable, "new_algorithm/compare_methods.py", str(definition)]
    record = work_tree / "ploting_data" / "ended" / "toy_bits.fixed.0"
    with starting() as start:
        process = start(command, cwd=work_tree)
        until(lambda: (record / "run.json").exists())
        process.send_signal(signal.SIGTERM)
        process.communicate()
        until(lambda: json_of(record / "run.json")["status"] != "running")
    wait.unlink()
    assert json_of(record / "run.json")["error"] == "stopped by SIGTERM"
    assert json_of(record.parent / "run.json")["status"] == "interrupted"


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
