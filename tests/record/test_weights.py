"""Which weights a run leaves: the last epoch's, and the best on validation rows alone."""

import json

import numpy as np
import pytest

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.errors import UserError
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.kept_run import find_run, layers_of
from new_algorithm.record.layout import Layout
from new_algorithm.record.weights import BEST_FILE, WEIGHTS_FILE, is_best


def rows(*scores, part="validation"):
    """(loss,), (loss, accuracy) or (loss, accuracy, auc) of each epoch."""
    names = [f"{part}_{name}" for name in ("loss", "accuracy", "auc")]
    return [dict(zip(names, one, strict=False)) for one in scores]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5,)], True),
        ([(0.5,), (0.4,)], True),
        ([(0.5,), (0.6,)], False),
        ([(0.5,), (0.5,)], False),  # the earlier of equals
        ([(0.5, 0.7), (0.9, 0.8)], True),  # accuracy before loss
        ([(0.5, 0.8), (0.1, 0.7)], False),
        ([(0.5, 0.8), (0.4, 0.8)], True),  # equals are told apart by the loss
        ([(0.5, 0.8, 0.6), (0.5, 0.7, 0.7)], True),  # the area before both
        ([(0.5, 0.8, 0.6), (0.5, 0.9, 0.5)], False),
        ([(np.nan, 0.9)], False),
        ([(np.nan, 0.9), (0.5, 0.2)], True),  # what was no number is no rival
        ([(0.3, 0.9), (0.5, 0.5), (0.4, 0.8)], False),  # beside all earlier ones
    ],
)
def test_best_is_what_the_task_is_judged_by(scores, best):
    so_far, found = None, False
    for row in rows(*scores):
        if found := is_best(row, so_far):
            so_far = row
    assert found == best


def test_nothing_is_chosen_on_test_rows():
    (row,) = rows((0.5, 0.7), part="test")
    assert not is_best(row, None)


def train(run, accuracies, part="validation"):
    for epoch, accuracy in enumerate(accuracies, start=1):
        run.save_weights([np.full((2, 2), float(epoch))])
        run.save_snapshot(epoch, [np.full((2, 2), float(epoch))])
        run.record_epoch(
            epoch,
            train=Scores(1 / epoch, 0.5),
            held_out=Scores(1.0, accuracy),
            layer_norms=[1.0],
            clock=TrainingClock(epoch, epoch),
        )


def epoch_in(path):
    with np.load(path) as archive:
        return int(archive["layer_1"][0, 0])


@pytest.fixture
def kept(tmp_path, open_run, without_figures):
    """kept(accuracies, held_out) -> the KeptRun of a run with these."""

    def make(accuracies, held_out):
        data = {"name": "toy", "num_classes": 3, "held_out": held_out}
        with open_run(run_options={"data": data}) as run:
            train(run, accuracies)
        return find_run("t", Layout(tmp_path))

    return make


def test_the_last_epoch_and_the_best_are_kept(kept):
    run = kept([0.5, 0.8, 0.6], "validation")
    assert epoch_in(run.folder / WEIGHTS_FILE) == 3
    assert epoch_in(run.folder / BEST_FILE) == 2
    assert run.record["final_metrics"]["best_epoch"] == 2
    for which, epoch in ((None, 2), ("best", 2), ("last", 3), ("1", 1)):
        path, told = run.weights_of(which)
        assert epoch_in(path) == told == epoch
    note = (run.folder.parents[1] / "figures" / "t" / "README.md").read_text()
    assert "weights.npz has epoch 3, best_weights.npz the best on validation rows, epoch 2" in note


def test_of_test_rows_the_last_alone_are_kept(kept):
    run = kept([0.5, 0.8, 0.6], "test")
    assert not (run.folder / BEST_FILE).exists()
    assert "best_epoch" not in run.record["final_metrics"]
    assert run.weights_of(None) == (run.folder / WEIGHTS_FILE, 3)
    with pytest.raises(UserError, match=r"best_weights\.npz is missing.*--held-out validation"):
        run.weights_of("best")
    with pytest.raises(UserError, match=r"--weights 9: choose best, last, .* kept, 1 2 3"):
        run.weights_of("9")


def test_older_runs_kept_another_epoch(kept):
    run = kept([0.5, 0.8], "test")
    run.record["final_metrics"]["saved_epoch"] = 1
    assert run.weights_of("last")[1] == 1


def test_weights_that_are_missing_or_damaged_are_told(kept, tmp_path):
    run = kept([0.5], "test")
    path = run.folder / WEIGHTS_FILE
    assert [layer.tolist() for layer in layers_of(run.read(path))] == [[[1, 1], [1, 1]]]
    path.write_bytes(b"PK damaged")
    with pytest.raises(UserError, match=r"weights\.npz cannot be read"):
        run.read(path)
    path.unlink()
    with pytest.raises(UserError, match=r"t/weights\.npz is missing .*: run `python .*` again$"):
        run.read(path)
    (run.folder / "run.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match=r"run\.json is missing or damaged"):
        find_run("t", Layout(tmp_path))
