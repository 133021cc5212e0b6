import errno
import os
import stat

import numpy as np
import pytest

from new_algorithm.record.files import replace_atomically, save_npy, save_npz, save_text


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
