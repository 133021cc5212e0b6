import csv
import errno
import os
import stat

import numpy as np
import pytest

from new_algorithm.record.files import (
    format_table,
    read_json,
    remove_unfinished,
    replace_atomically,
    save_csv,
    save_json,
    save_npy,
    save_npz,
    save_text,
)


def test_arrays_and_text_come_back(tmp_path):
    save_text(tmp_path / "a.txt", "λ\n")
    save_npy(tmp_path / "a.npy", np.arange(3))
    save_npz(tmp_path / "a.npz", layer_1=np.eye(2))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "λ\n"
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert np.load(tmp_path / "a.npz")["layer_1"].tolist() == np.eye(2).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a.npz", "a.txt"]


def test_a_failure_half_way_leaves_the_previous_file_and_nothing_else(tmp_path):
    save_text(tmp_path / "a.txt", "old")

    def write_half():
        with replace_atomically(tmp_path / "a.txt") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_file(tmp_path, monkeypatch, call):
    save_text(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        save_text(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    save_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt")]
    assert modes[0] == modes[1]


ROWS = [{"sweep": 1, "relative_error": 1 / 3}, {"sweep": 100, "relative_error": 2.5e-12}]


def test_columns_are_aligned_under_their_names():
    assert format_table(ROWS).splitlines() == [
        "sweep  relative error",
        "    1          0.3333",
        "  100         2.5e-12",
    ]


def test_csv_reads_back_the_same_numbers(tmp_path):
    save_csv(tmp_path / "t.csv", ROWS)
    with (tmp_path / "t.csv").open() as file:
        read = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert read == ROWS


WORDS = [
    {"method": "no momentum", "setting": 'defaults, 4 epochs, "b128"', "accuracy": 0.5},
    {"method": "λ_w → ∞", "setting": "two\nlines", "accuracy": float("nan")},
]


def test_csv_reads_back_commas_quotes_and_greek(tmp_path):
    save_csv(tmp_path / "t.csv", WORDS)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [(row["method"], row["setting"]) for row in read] == [
        (row["method"], row["setting"]) for row in WORDS
    ]
    assert [row["accuracy"] for row in read] == ["0.5", "nan"]


def test_words_and_counts_are_shown_whole():
    assert format_table([{"method": "a long name", "runs": 12345, "loss": 0.123456}]).split(
        "\n"
    ) == ["     method   runs    loss", "a long name  12345  0.1235"]


def test_rows_of_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="runs"):
        save_csv(tmp_path / "t.csv", [{"method": "a"}, {"method": "b", "runs": 3}])
    assert not (tmp_path / "t.csv").exists()


def test_what_killed_saves_have_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "snapshots").mkdir()
    left = [tmp_path / ".weights.npz.0a1b2c3d", tmp_path / "snapshots" / ".3.npz.deadbeef"]
    kept = [tmp_path / name for name in (".hidden", "run.json", "a.0a1b2c3d", ".x.npz.0a1b2c3g")]
    for path in left + kept:
        path.touch()
    remove_unfinished(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    remove_unfinished(tmp_path / "absent")


def test_text_that_is_not_utf_8_is_escaped(tmp_path):
    """As of a file's name with a byte of another encoding."""
    path = tmp_path / "facts.json"
    save_json(path, {"name": "a\udcff é"})
    assert read_json(path) == {"name": "a\udcff é"}
    assert path.read_bytes().count(b"\\udcff") == 1
