"""Checkpoints that are damaged in every way; tests/test_resumed_runs.py goes on from them."""

import errno
import os

import numpy as np
import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.record.checkpoint import (
    LATEST,
    PREVIOUS,
    keep_latest,
    load_checkpoint,
    save_checkpoint,
)
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.resuming import check_same


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "ploting_data" / "t"
    folder.mkdir(parents=True)
    return folder


def save(folder, epoch):
    save_checkpoint(folder, {"weights": np.full(3, epoch, np.float32)}, {"epoch": epoch})


def loaded(folder):
    arrays, facts = load_checkpoint(folder)
    assert set(arrays) == {"weights"}
    np.testing.assert_array_equal(arrays["weights"], np.full(3, facts["epoch"], np.float32))
    return facts["epoch"]


def test_what_is_saved_is_loaded(folder):
    rng = np.random.default_rng(0)
    rng.standard_normal(5)
    arrays = {
        "single": rng.standard_normal((4, 3)).astype(np.float32),
        "double": np.array([np.nan, np.inf, -0.0, 5e-324]),
        "whole": np.arange(3),
        "none": np.empty((0, 7)),
    }
    facts = {
        "rng": rng.bit_generator.state,
        "losses": [0.1, 1 / 3, float("inf"), None],
        "loop": (3, 0.25),
        "λ": {"nested": ["é", True]},
    }
    save_checkpoint(folder, arrays, facts)
    found, told = load_checkpoint(folder)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert told == facts | {"loop": [3, 0.25]}, "tuples have become lists, numbers are the same"
    other = np.random.default_rng(1)
    other.bit_generator.state = told["rng"]
    assert other.random() == rng.random()


def test_latest_is_loaded_and_the_one_before_is_kept(folder, capsys):
    for epoch in (1, 2, 3):
        save(folder, epoch)
        assert loaded(folder) == epoch
    (folder / LATEST).unlink()
    assert loaded(folder) == 2
    assert capsys.readouterr().err == ""


def test_a_completed_run_keeps_the_latest_and_nothing_half_written(folder, monkeypatch):
    save(folder, 1)
    save(folder, 2)
    monkeypatch.setattr(os, "replace", lambda *_: None)  # as if killed before the first rename
    save(folder, 3)
    monkeypatch.undo()
    assert any(path.name.startswith(f".{LATEST}.new.") for path in folder.iterdir())
    (folder / "weights.npz").touch()
    keep_latest(folder)
    assert sorted(path.name for path in folder.iterdir()) == [LATEST, "weights.npz"]
    assert loaded(folder) == 2


def nothing(content):
    return b""


def half(content):
    return content[: len(content) // 2]


def all_but_a_byte(content):
    return content[:-1]


def flipped_in_the_middle(content):
    changed = bytearray(content)
    changed[content.index(b"\x00\x00\x00@") + 3] ^= 1  # in a number: 2.0 as float32
    return bytes(changed)


def text(content):
    return b"epoch 2 of 5\n"


def zeros(content):
    return bytes(len(content))


DAMAGES = [nothing, half, all_but_a_byte, flipped_in_the_middle, text, zeros]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_latest_gives_way_to_the_one_before(folder, damage, capsys):
    for epoch in (1, 2):
        save(folder, epoch)
    (folder / LATEST).write_bytes(damage((folder / LATEST).read_bytes()))
    assert loaded(folder) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"notice: {LATEST} is damaged (")
    assert told.endswith(f"; the run goes on from {PREVIOUS}\n")
    assert told.count("\n") == 1
    save(folder, 2)
    assert loaded(folder) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_but_damaged_ones_are_named(folder, damage):
    for epoch in (1, 2):
        save(folder, epoch)
    for name in (LATEST, PREVIOUS):
        (folder / name).write_bytes(damage((folder / LATEST).read_bytes()))
    words = rf"ploting_data/t/ \({LATEST} is damaged .*; {PREVIOUS} is damaged .*--overwrite"
    with pytest.raises(UserError, match=words):
        load_checkpoint(folder)


def test_no_checkpoint_is_said_to_be_none(folder):
    with pytest.raises(UserError, match=r"--resume: .*there is no checkpoint.*--overwrite"):
        load_checkpoint(folder)


def test_any_flipped_bit_is_noticed_or_harmless(folder):
    for epoch in (1, 2):
        save(folder, epoch)
    content = (folder / LATEST).read_bytes()
    for bit in range(0, 8 * len(content), 7):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (folder / LATEST).write_bytes(changed)
        assert loaded(folder) in (1, 2)


def test_checkpoint_that_would_be_unpickled_counts_as_damaged(folder):
    save(folder, 1)
    save(folder, 2)
    np.savez(folder / LATEST, weights=np.array([{}], object), facts=np.zeros(2, np.uint8))
    assert loaded(folder) == 1


def test_killed_between_the_two_renames(folder, capsys):
    save(folder, 1)
    save(folder, 2)
    os.replace(folder / LATEST, folder / f"{LATEST}.new")  # as if it had not been renamed yet
    assert loaded(folder) == 1
    assert capsys.readouterr().err == ""
    save(folder, 2)
    assert loaded(folder) == 2
    assert {path.name for path in folder.iterdir()} == {LATEST, PREVIOUS}


def test_killed_between_the_two_renames_while_the_latest_is_damaged(folder, monkeypatch):
    save(folder, 1)
    save(folder, 2)
    (folder / LATEST).write_bytes(b"")
    assert loaded(folder) == 1
    replace_file = os.replace

    def killed(source, target):
        if str(source).endswith(".new"):
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(folder, 2)
    assert loaded(folder) in (1, 2)


@pytest.mark.parametrize("saved", [0, 1, 2])
def test_full_disk_leaves_the_earlier_ones(folder, monkeypatch, saved):
    for epoch in range(saved):
        save(folder, epoch)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(folder, 9)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_differences_are_listed():
    then = {"epochs": 3, "widths": [4, 5], "seed": 1, "tag": "a", "gone": 1}
    check_same("setting", then, then | {"widths": (4, 5), "tag": "b"}, ("tag",))
    with pytest.raises(UserError) as caught:
        check_same(
            "setting", then, {"epochs": 4, "widths": (4, 6), "seed": 1, "tag": "b"}, ("tag",)
        )
    told = str(caught.value)
    assert "the setting is not the same: epochs was 3 and is 4; gone was 1 and is None;" in told
    assert "widths was [4, 5] and is [4, 6];" in told
    assert "seed" not in told
    assert "tag" not in told
    with pytest.raises(UserError, match=r"sha256 was a{57}\.\.\. and is b;"):
        check_same("data", {"sha256": 99 * "a"}, {"sha256": "b"})


def test_resumption_needs_a_run_that_is_there(tmp_path):
    for tag, overwrite in ((None, False), ("t", True)):
        with pytest.raises(UserError, match=r"--resume .* --tag names, and without --overwrite"):
            check_tag(tag, overwrite, Layout(tmp_path), resume=True)
    with pytest.raises(UserError, match="--resume: there is no run t"):
        check_tag("t", False, Layout(tmp_path), resume=True)
    (tmp_path / "ploting_data" / "t").mkdir(parents=True)
    (tmp_path / "ploting_data" / "t" / "run.json").touch()
    check_tag("t", False, Layout(tmp_path), resume=True)
