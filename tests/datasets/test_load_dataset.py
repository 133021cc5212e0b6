import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import check_name, load, load_dataset, training_rows
from new_algorithm.cli.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["cifar", "MNIST", "", "data.npy", "mnist.npz.gz"])
@pytest.mark.parametrize("function", [check_name, training_rows, load_dataset])
def test_unknown_names_are_refused_with_the_choices(function, name):
    with pytest.raises(UserError, match=r"choose mnist, .* spirals or the path of an \.npz"):
        function(name)


@pytest.mark.parametrize("function", [check_name, training_rows, load_dataset])
def test_an_absent_file_is_refused(function, tmp_path):
    with pytest.raises(UserError, match=r"absent\.npz: no such file"):
        function(str(tmp_path / "absent.npz"))


KNOWN = ["mnist", "higgs", "higgs-like", "higgs-like:500", "synthetic", "regression", "spirals"]


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_pass(name):
    check_name(name)


def test_mnists_training_rows_are_known_without_the_data(tmp_path):
    assert training_rows("mnist", data_dir=tmp_path) == 60_000
    assert training_rows("mnist", held_out="validation") == 50_000
    assert training_rows("mnist", train_limit=128, held_out="validation") == 128


@pytest.mark.parametrize("function", [training_rows, load_dataset])
def test_an_absent_data_dir_is_refused(function, tmp_path):
    with pytest.raises(UserError, match="absent: no such folder"):
        function("mnist", data_dir=tmp_path / "absent")


@pytest.mark.parametrize("function", [training_rows, load_dataset])
def test_limits_below_one_are_refused(function):
    with pytest.raises(UserError, match="train_limit 0"):
        function("synthetic", train_limit=0)


@pytest.mark.parametrize(
    ("name", "limits", "rows"),
    [
        ("mnist", {}, 60_000),
        ("higgs-like:100000000", {"held_out": "validation"}, 82_916_667),
        ("synthetic", {"train_limit": 600}, 600),
        ("spirals", {"held_out": "unseen"}, 3_334),
    ],
)
def test_a_batch_larger_than_the_training_rows_is_refused_before_loading(
    name, limits, rows, monkeypatch
):
    loaders = ("load_mnist", "load_higgs_like", "load_synthetic")
    for loader in loaders:
        monkeypatch.setattr(load, loader, lambda *_: pytest.fail("loaded"))
    with pytest.raises(UserError, match=rf"^batch size {rows + 1} is more .* at most {rows}$"):
        load_dataset(name, batch_size=rows + 1, **limits)


@pytest.mark.parametrize("batch_size", [None, "full", 1, 600])
def test_other_batches_are_accepted(batch_size):
    assert len(load_dataset("synthetic", train_limit=600, batch_size=batch_size).x_train) == 600


def test_a_data_dir_without_mnist_is_refused(tmp_path):
    with pytest.raises(UserError, match="no MNIST there"):
        load_dataset("mnist", data_dir=tmp_path)


def test_provenance_is_json_and_says_what_was_used():
    dataset = load_dataset("synthetic", train_limit=10, test_limit=5, held_out="validation", seed=4)
    provenance = json.loads(json.dumps(dataset.provenance()))
    assert provenance["name"] == "synthetic"
    assert provenance["counts"] == {"train": 10, "validation": 5}
    assert provenance["shape"] == [20]
    assert provenance["held_out"] == "validation"
    assert provenance["num_classes"] == 4
    assert provenance["sha256"] == dataset.sha256
    assert "seed 4" in provenance["source"]
    assert provenance["scaling"] == dataset.scaling


def test_the_command_reports_a_spoilt_file_in_one_line(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros(3, np.uint8))
    finished = subprocess.run(
        [sys.executable, "-m", "datasets", "mnist"],
        cwd=ROOT,
        env={"BACK_PROJECTION_DATASETS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith("error: ")
    assert "mnist.npz: y_train is missing" in line


def test_unseen_rows_are_scaled_with_the_training_rows_of_validation():
    unseen = load_dataset("synthetic", held_out="unseen")
    np.testing.assert_array_equal(
        unseen.x_train, load_dataset("synthetic", held_out="validation").x_train
    )
    test = load_dataset("synthetic").x_test
    assert np.abs(unseen.x_test - test).max() > 0  # another scale than that of all training rows
    np.testing.assert_allclose(unseen.x_test, test, atol=0.1)
