"""Scripts on a full disk, or what is like one: a limit on the length of files."""

import resource
from functools import partial

import numpy as np
import pytest

from new_algorithm.record.layout import Layout
from tests.experiments import invented_record
from tests.processes import assert_one_clear_line

DEEP = "new_algorithm/n_layer_relu_data.py"
TAG = "on_a_full_disk"


@pytest.fixture
def run_on_full_disk(run_script):
    """Like run_script, where no file can have more than so many bytes."""

    def run(room, *words):
        limits = resource.RLIMIT_FSIZE, (room, room)
        return run_script(*words, preexec_fn=partial(resource.setrlimit, *limits))

    return run


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    x = np.random.default_rng(0).standard_normal((600, 4))
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(int))
    return path


@pytest.fixture(scope="module")
def command(rows, run_script):
    """Of a run that has been made."""
    flags = ("--num-layers", 3, "--hidden-dim", 8, "--batch-size", 50, "--epochs", 1, "--tag", TAG)
    words = (DEEP, "--dataset", rows, *flags)
    finished = run_script(*words)
    assert finished.returncode == 0, finished.stderr
    return words


def contents(work_tree, tag=TAG):
    folders = (work_tree / name / tag for name in ("ploting_data", "figures"))
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*.*")}


def test_a_run_that_is_overwritten_is_back(command, run_on_full_disk, work_tree):
    before = contents(work_tree)
    finished = run_on_full_disk(4000, *command, "--overwrite")
    assert_one_clear_line(finished, "ploting_data/ cannot be written", "free some space")
    assert contents(work_tree) == before


def test_figures_that_are_drawn_again_stay(command, run_on_full_disk, work_tree):
    before = contents(work_tree)
    finished = run_on_full_disk(4000, "new_algorithm/plot_runs.py", TAG)
    assert_one_clear_line(finished, f"figures/{TAG}/", ".png cannot be written", "free some space")
    assert contents(work_tree) == before


def test_a_report_that_is_written_again_stays(run_script, run_on_full_disk, work_tree):
    tag, words = invented_record.TAG, ("new_algorithm/write_report.py", invented_record.TAG)
    invented_record.write_record(Layout(work_tree))
    assert run_script(*words).returncode == 0
    before = contents(work_tree, tag)
    finished = run_on_full_disk(4000, *words)
    assert_one_clear_line(finished, f"figures/{tag}/", "cannot be written", "free some space")
    assert contents(work_tree, tag) == before


def test_predictions_are_whole_or_not_there(command, rows, run_on_full_disk, tmp_path):
    words = ("new_algorithm/predict.py", TAG, rows, "--output", tmp_path / "predicted.csv")
    finished = run_on_full_disk(2000, *words)
    assert_one_clear_line(finished, "predicted.csv cannot be written", "free some space")
    assert [*tmp_path.iterdir()] == []
