import json

import numpy as np
import pytest

from datasets import check_name, load_dataset, mnist, mnist1d, sources, synthetic
from datasets.higgs import generator
from new_algorithm.cli.errors import UserError


@pytest.mark.parametrize("name", ["cifar", "MNIST", "", "data.npy", "mnist.npz.gz"])
@pytest.mark.parametrize("function", [check_name, load_dataset])
def test_unknown_names_are_refused_with_the_choices(function, name):
    with pytest.raises(
        UserError, match=r"choose mnist, .* table:NAME or the path of a file \(\.csv, .*\.npz\)"
    ):
        function(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MNIST", "did you mean mnist"),
        ("higs", "mean higgs"),
        ("mnist_autoencoder", "mean mnist-autoencoder"),
        ("a.xlsx", "save its sheet as CSV"),
    ],
)
def test_what_was_meant_is_said(name, hint):
    for given in {}, {"target": ["a"]}:
        with pytest.raises(UserError, match=hint):
            load_dataset(name, **given)


def test_a_file_of_another_name_is_told_how_tables_are_named(tmp_path):
    (tmp_path / "iris.data").write_text("1,2\n")
    with pytest.raises(
        UserError, match=r"unknown data set .*a table has a name that ends in \.csv"
    ):
        load_dataset(str(tmp_path / "iris.data"), target=["a"])


@pytest.mark.parametrize(
    "option", [{"target": ["a"]}, {"drop": ["a"]}, {"missing": "median"}, {"task": "regression"}]
)
def test_options_of_tables_are_refused_for_other_data(option):
    with pytest.raises(UserError, match=f"^--{next(iter(option))} is for tables .*, synthetic is"):
        load_dataset("synthetic", **option)


@pytest.mark.parametrize("function", [check_name, load_dataset])
def test_an_absent_file_is_refused(function, tmp_path):
    with pytest.raises(UserError, match=r"absent\.npz: no such file"):
        function(str(tmp_path / "absent.npz"))


KNOWN = [
    "mnist",
    "mnist-autoencoder",
    "mnist1d",
    "higgs-like",
    "higgs-like:500",
    "synthetic",
    "regression",
    "spirals",
]


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_pass(name):
    check_name(name)


def test_higgs_passes_where_its_file_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path / "datasets")
    monkeypatch.setenv(sources.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="no HIGGS in"):
        check_name("higgs")
    (tmp_path / "HIGGS.csv").touch()
    check_name("higgs")


def test_an_absent_data_dir_is_refused(tmp_path):
    with pytest.raises(UserError, match="absent: no such folder"):
        load_dataset("mnist", data_dir=tmp_path / "absent")


def test_limits_below_one_are_refused():
    with pytest.raises(UserError, match="train_limit 0"):
        load_dataset("synthetic", train_limit=0)


@pytest.mark.parametrize(
    ("name", "limits", "rows"),
    [
        ("mnist", {}, 60_000),
        ("mnist", {"held_out": "validation"}, 50_000),
        ("mnist-autoencoder", {"train_limit": 600}, 600),
        ("mnist1d", {"held_out": "validation"}, 3_334),
        ("mnist", {"held_out": "validation", "train_limit": 128}, 128),
        ("higgs-like", {}, 80_000),
        ("higgs-like:2600000", {}, 2_100_000),
        ("higgs-like:500", {"held_out": "validation", "train_limit": 1000}, 334),
        ("higgs-like:100000000", {"held_out": "validation"}, 82_916_667),
        ("synthetic", {"train_limit": 600}, 600),
        ("spirals", {"held_out": "unseen"}, 3_334),
    ],
)
def test_a_batch_larger_than_the_training_rows_is_refused_before_loading(
    name, limits, rows, monkeypatch
):
    loaders = ((mnist, "find_mnist"), (mnist1d, "find_mnist1d"), (generator, "load_cached"))
    for module, loader in loaders:
        monkeypatch.setattr(module, loader, lambda *_: pytest.fail("loaded"))
    for known, recipe in synthetic.SYNTHETIC.items():
        unable = recipe._replace(draw=lambda _: pytest.fail("drawn"))
        monkeypatch.setitem(synthetic.SYNTHETIC, known, unable)
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


def test_unseen_rows_are_scaled_with_the_training_rows_of_validation():
    unseen = load_dataset("synthetic", held_out="unseen")
    np.testing.assert_array_equal(
        unseen.x_train, load_dataset("synthetic", held_out="validation").x_train
    )
    test = load_dataset("synthetic").x_test
    assert np.abs(unseen.x_test - test).max() > 0  # another scale than that of all training rows
    np.testing.assert_allclose(unseen.x_test, test, atol=0.1)
