"""The parts of the HIGGS benchmark on few rows."""

import csv

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm import bench_higgs
from new_algorithm.bench_higgs import GRIDS, METHODS, Config, auc, parameters, to_the_same_loss
from new_algorithm.record.measurement import Score


class Tables:
    """Stands for a Run and keeps its tables."""

    def __init__(self):
        self.tables = {}

    def table(self, name, rows, title):
        self.tables[name] = rows


def test_the_methods_that_are_tuned_have_grids_of_one_size():
    assert GRIDS.keys() == METHODS.keys()
    sizes = {name: len(settings) for name, settings in GRIDS.items()}
    assert len({sizes[name] for name in ("back projection", "adam", "momentum")}) == 1
    assert sizes["gradient boosting"] == sizes["adam"]


def test_best_of_validation_is_what_is_tested(monkeypatch):
    """Of two settings a method, the one that validation prefers is worse on the test set."""
    loaded, tested = [], []

    def load(name, held_out="test", train_limit=None):
        loaded.append(held_out)
        return held_out

    def method_of(widths):
        def method(good):
            def train(data, seed):
                if data == "test":
                    tested.append(good)
                return Score(0.1, 0.2, 0.5, 1.0, True, good if data == "validation" else 1 - good)

            return train

        return method

    monkeypatch.setattr(bench_higgs, "load_dataset", load)
    monkeypatch.setattr(bench_higgs, "METHODS", {"a": method_of, "b": method_of})
    monkeypatch.setattr(bench_higgs, "GRIDS", {key: [{"good": 0.6}, {"good": 0.9}] for key in "ab"})
    run = Tables()
    auc(Config(part="auc", seeds=(3, 4, 5)), run)
    assert loaded == ["validation", "test"]
    assert tested == [0.9] * 6
    assert [row["method"] for row in run.tables["auc"]] == ["a: good 0.9", "b: good 0.9"]
    np.testing.assert_allclose([row["auc"] for row in run.tables["auc"]], 0.1)
    assert len(run.tables["grid"]) == 4


def test_every_method_of_the_table_trains():
    pytest.importorskip("sklearn")
    data = load_dataset("synthetic")
    two = data.y_train < 2, data.y_test < 2
    data.__dict__.update(  # the rows of two of the four classes
        x_train=data.x_train[two[0]],
        y_train=data.y_train[two[0]],
        x_test=data.x_test[two[1]],
        y_test=data.y_test[two[1]],
        num_classes=2,
    )
    for name, settings in GRIDS.items():
        score = METHODS[name]((8, 8))(**settings[0])(data, 0)
        assert score.held_out_auc > 0.7, name


def test_bytes_of_adam_are_those_of_its_gradient(monkeypatch):
    monkeypatch.setattr(bench_higgs, "BATCHES", (64,))
    monkeypatch.setattr(bench_higgs, "MOST_EPOCHS", {64: 30})
    monkeypatch.setattr(
        bench_higgs,
        "LARGE_BATCH_GRIDS",
        {
            "back projection": [{"hidden_lambda_w": 1.0, "step_bounds": (1e-2, 1.0)}],
            "adam": [{"lr": 1e-7}, {"lr": 2e-3}],
        },
    )
    data = load_dataset("synthetic", train_limit=2_000)
    config = Config(part="ranks", widths=(12, 12), loss=1.0)
    monkeypatch.setattr(bench_higgs, "parameters", lambda widths: parameters([20, 12, 12, 4]))
    rows, trainings = to_the_same_loss(config, data)
    ours, adam = rows
    assert adam["reached"] == "1 of 2 in 30 epochs"
    assert adam["bytes_an_iteration"] == 4 * (21 * 12 + 13 * 12 + 13 * 4)
    assert ours["bytes_an_iteration"] > adam["bytes_an_iteration"]
    assert ours["train_loss"] <= 1.0 >= adam["train_loss"]
    assert [training.iterations for training in trainings] == [row["iterations"] for row in rows]


def test_rows_are_timed_in_processes_of_their_own(run_script, work_tree):
    flags = ["--rows", "1000", "2000", "--widths", "8", "--sweeps", "3", "--tag", "bench_rows"]
    done = run_script("new_algorithm/bench_higgs.py", "rows", *flags)
    assert done.returncode == 0, done.stderr
    with (work_tree / "ploting_data/bench_rows/row_scaling.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [int(row["train_rows"]) for row in table] == [800, 1600]
    assert all(float(row["sweep_s"]) > 0 for row in table)
    assert (work_tree / "figures/bench_rows/row_scaling.png").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("auc --seeds 1 1", "--seeds"),
        ("ranks --ranks 2 2", "--ranks"),
        ("rows --rows 1000 1000", "--rows"),
        ("auc --widths 8 9", "--widths"),
    ],
)
def test_bad_values_are_refused(flags, told, run_script):
    done = run_script("new_algorithm/bench_higgs.py", *flags.split())
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert told in done.stderr
