import csv
import json

import numpy as np
import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.record.history import History, plain_row, read_series

ROW = {
    "epoch": 1,
    "train_loss": 0.1,
    "test_loss": np.float32(0.1),
    "test_accuracy": np.array(0.5),
    "layer_norms": np.array([1.0, 2.0], np.float32),
    "cg_iterations": [3, 4.5],
    "train_cpu_seconds": 1.0,
    "train_wall_seconds": 2.0,
    "step_size": 1e-3,
}


def rows(folder, name):
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def test_columns_carry_units_and_times_have_a_file_of_their_own(tmp_path):
    History(tmp_path, "nats").append(plain_row(ROW))
    assert list(rows(tmp_path, "metrics_log.csv")[0]) == [
        "epoch",
        "train_loss_nats",
        "test_loss_nats",
        "test_accuracy_fraction",
        "layer_1_weight_norm",
        "layer_2_weight_norm",
        "layer_1_cg_iterations",
        "layer_2_cg_iterations",
        "step_size",
    ]
    assert rows(tmp_path, "timing_log.csv") == [
        {"epoch": "1", "train_cpu_seconds": "1.0", "train_wall_seconds": "2.0"}
    ]


def test_a_loss_without_a_unit_has_a_bare_name(tmp_path):
    History(tmp_path, None).append(plain_row(ROW))
    assert "train_loss" in rows(tmp_path, "metrics_log.csv")[0]


def test_text_and_arrays_hold_the_same_numbers_to_the_last_bit(tmp_path):
    history = History(tmp_path, "nats")
    rng = np.random.default_rng(0)
    for epoch in (1, 2, 3):
        loss, norms = float(rng.normal()), rng.normal(size=2)
        history.append(plain_row(ROW | {"epoch": epoch, "train_loss": loss, "layer_norms": norms}))
    series, table = read_series(tmp_path), rows(tmp_path, "metrics_log.csv")
    assert series["train_loss"].tolist() == [float(row["train_loss_nats"]) for row in table]
    assert series["layer_norms"][:, 1].tolist() == [
        float(row["layer_2_weight_norm"]) for row in table
    ]
    assert series["cg_iterations"].shape == (3, 2)
    assert series["epoch"].tolist() == [1, 2, 3]
    assert series["test_loss"][0] == np.float32(0.1)


def test_nan_and_infinity_are_kept(tmp_path):
    History(tmp_path, "nats").append(plain_row(ROW | {"train_loss": np.nan, "test_loss": np.inf}))
    row = rows(tmp_path, "metrics_log.csv")[0]
    assert (row["train_loss_nats"], row["test_loss_nats"]) == ("nan", "inf")
    assert np.isnan(read_series(tmp_path)["train_loss"][0])


@pytest.mark.parametrize("change", [{"extra": 1.0}, {"layer_norms": [1.0]}])
def test_an_epoch_with_other_columns_is_refused(tmp_path, change):
    history = History(tmp_path, "nats")
    history.append(plain_row(ROW))
    with pytest.raises(ValueError, match="this epoch records"):
        history.append(plain_row(ROW | change))
    assert len(rows(tmp_path, "metrics_log.csv")) == 1


def test_arrays_of_a_killed_run_are_cut_to_the_epochs_all_hold(tmp_path):
    np.save(tmp_path / "epoch.npy", np.arange(3))
    np.save(tmp_path / "train_loss.npy", np.ones(2))
    (tmp_path / ".test_loss.npy.x1").write_bytes(b"half")
    series = read_series(tmp_path)
    assert {name: len(values) for name, values in series.items()} == {"epoch": 2, "train_loss": 2}


def test_a_damaged_or_pickled_array_is_named(tmp_path):
    np.save(tmp_path / "epoch.npy", np.arange(3))
    (tmp_path / "train_loss.npy").write_bytes((tmp_path / "epoch.npy").read_bytes()[:-8])
    with pytest.raises(UserError, match=r"train_loss\.npy is not a sound array"):
        read_series(tmp_path)
    np.save(tmp_path / "train_loss.npy", np.array([{}] * 3), allow_pickle=True)
    with pytest.raises(UserError, match=r"train_loss\.npy"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    "array", [np.float64(3), np.zeros((3, 1, 2)), np.array(["a", "b", "c"]), np.zeros((3, 2)) * 1j]
)
def test_an_array_that_no_run_has_is_named(tmp_path, array):
    np.save(tmp_path / "epoch.npy", np.arange(3))
    np.save(tmp_path / "train_loss.npy", array)
    with pytest.raises(UserError, match=r"train_loss\.npy is not a sound array"):
        read_series(tmp_path)


def test_a_header_that_promises_far_too_much_is_named(tmp_path):
    np.save(tmp_path / "epoch.npy", np.arange(3))
    with (tmp_path / "train_loss.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UserError, match=r"train_loss\.npy is not a sound array"):
        read_series(tmp_path)


def test_a_folder_without_epochs_has_no_series(tmp_path):
    assert read_series(tmp_path) == {}
    np.save(tmp_path / "something.npy", np.arange(3))
    assert read_series(tmp_path) == {}


def test_restored_rows_are_written_and_go_on_as_if_never_left(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    epochs = [plain_row(ROW | {"epoch": n, "train_loss": 1 / n}) for n in range(1, 6)]
    before = History(whole, "nats")
    for row in epochs[:3]:
        before.append(row)
    saved = json.loads(json.dumps(before.rows))
    for row in epochs[3:]:
        before.append(row)
    before.save()
    (cut / "metrics_log.csv").write_text("half a li")  # whatever a killed run has left
    after = History(cut, "nats", saved)
    after.save()
    assert np.load(cut / "epoch.npy").tolist() == [1, 2, 3]
    for row in epochs[3:]:
        after.append(row)
    after.save()
    assert after.rows == before.rows
    names = {path.name for path in whole.iterdir()}
    assert names == {path.name for path in cut.iterdir()}
    for name in names:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    with pytest.raises(ValueError, match="this epoch records"):
        after.append(plain_row(ROW | {"extra": 1.0}))
