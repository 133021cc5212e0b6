"""Checkpoints that are damaged in every way, and runs that go on from them."""

import errno
import json
import os
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.optimizer import BackProjection
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import Alone
from new_algorithm.methods import back_projection_training
from new_algorithm.methods.back_projection_training import chunk_rows_in_force
from new_algorithm.n_layer_relu_data import Config, train_and_record, with_penalties
from new_algorithm.record import figures
from new_algorithm.record.checkpoint import (
    LATEST,
    PREVIOUS,
    check_same,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run


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
    remove_checkpoints(folder)
    assert list(folder.iterdir()) == []
    assert capsys.readouterr().err == ""


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


def test_any_flipped_bit_is_noticed_or_of_no_matter(folder):
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


# Runs that go on.

FORGETFUL = {"solver": "gradient", "order": "simultaneous", "step_size": 0.02}
STOPS = {"within an epoch": 1, "before its checkpoint": 1, "after its checkpoint": 2}
pytestmark = pytest.mark.usefixtures("without_figures")


def run_in(root, tag="t", resume=False, dataset="synthetic", ranks=None, **flags):
    """Train for three epochs of 9 iterations, and return the folder of the record."""
    settings = {"num_layers": 3, "hidden_dim": 8, "epochs": 3, "batch_size": 64} | flags
    config = with_penalties(Config(dataset=dataset, tag=tag, train_limit=600, **settings))
    data = load_dataset(dataset, train_limit=600)
    script = root / "new_algorithm" / "toy.py"
    with Run(script=script, config=config, data=data.provenance(), root=root, resume=resume) as run:
        ranks = ranks or Alone()
        train_and_record(config, data, chunk_rows_in_force(config, data, ranks), run, ranks)
    return run.folder


@pytest.fixture
def run_it(tmp_path):
    """run_it(resume=True, **flags): such a run, under tag t."""
    return partial(run_in, tmp_path)


@pytest.fixture
def run_until(tmp_path, monkeypatch):
    """run_until(where, epoch, **flags): such a run, stopped there."""

    def run(where, epoch, **flags):
        owner, name, calls = {
            "within an epoch": (BackProjection, "step", 9 * epoch - 4),
            "before its checkpoint": (Run, "save_checkpoint", epoch),
            "after its checkpoint": (Run, "save_checkpoint", epoch),
        }[where]
        original, count = getattr(owner, name), []

        def counted(*arguments):
            count.append(1)
            if len(count) == calls and where != "after its checkpoint":
                raise KeyboardInterrupt
            result = original(*arguments)
            if len(count) == calls:
                raise KeyboardInterrupt
            return result

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, counted)
            with pytest.raises(KeyboardInterrupt):
                run_in(tmp_path, **flags)

    return run


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """uninterrupted(**flags) -> the folder of such a run, made once."""
    root = tmp_path_factory.mktemp("uninterrupted")

    @cache
    def run(**flags):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(figures, "draw_run", lambda *_: [])
            return run_in(root, f"t{len(list(root.glob('ploting_data/*')))}", **flags)

    return run


def read(folder):
    return json.loads((folder / "run.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights_of(folder):
    with np.load(folder / "weights.npz") as file:
        return [file[f"layer_{layer}"] for layer in (1, 2, 3)]


def assert_whole(folder):
    """All epochs, each once, and nothing that a completed run does not need."""
    assert read(folder)["status"] == "completed"
    lines = (folder / "metrics_log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3"]
    lengths = {path.name: len(np.load(path)) for path in folder.glob("*.npy")}
    assert set(lengths.values()) == {3}
    assert np.load(folder / "epoch.npy").tolist() == [1, 2, 3]
    assert not list(folder.glob("*checkpoint*"))


def assert_same_bits(folder, other):
    for a, b in zip(weights_of(folder), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("metrics_log.csv", "train_loss.npy", "layer_norms.npy"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("where", "flags"),
    [
        *((where, FORGETFUL) for where in STOPS),
        ("within an epoch", {}),
        ("within an epoch", {"lambda_h_layers": (3.0,)}),
        ("within an epoch", {"solver": "cg", "warm_start": True, "precondition": True}),
        ("within an epoch", {"solver": "cg", "gram_average": 0.0, "order": "sequential"}),
        ("within an epoch", {"pass_down": "left", "step_size": 0.1}),
        ("within an epoch", {"chunk_rows": 20}),
        ("before its checkpoint", {"chunk_rows": 100, "batch_size": "full", "dtype": "float64"}),
        ("before its checkpoint", {"batch_size": "full", "epochs": 3}),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    run_it, run_until, uninterrupted, where, flags
):
    run_until(where, 2, **flags)
    folder = run_it(resume=True, **flags)
    assert_whole(folder)
    assert_same_bits(folder, uninterrupted(**flags))
    assert read(folder)["resumed_after_epoch"] == STOPS[where]


def test_run_that_is_cut_short_twice_and_loses_a_checkpoint(
    run_it, run_until, uninterrupted, tmp_path, capsys
):
    run_until("after its checkpoint", 1, **FORGETFUL)
    run_until("after its checkpoint", 1, resume=True, **FORGETFUL)  # which is of epoch 2
    folder = tmp_path / "ploting_data" / "t"
    assert read(folder)["status"] == "interrupted"
    (folder / LATEST).write_bytes((folder / LATEST).read_bytes()[:-100])
    run_it(resume=True, **FORGETFUL)
    assert f"{LATEST} is damaged" in capsys.readouterr().err
    assert read(folder)["resumed_after_epoch"] == 1
    assert_whole(folder)
    assert_same_bits(folder, uninterrupted(**FORGETFUL))


def test_basis_that_is_found_anew_with_other_signs_is_no_matter(
    run_it, run_until, uninterrupted, monkeypatch
):
    """On a machine of another kind the eigenvectors may be −q, and their coordinates with them."""
    run_until("within an epoch", 2, **FORGETFUL)
    found = back_projection_training.leading_eigenbasis

    def mirrored(*arguments):
        basis, inputs = found(*arguments)
        signs = np.where(np.arange(len(basis.values)) % 2, -1, 1).astype(np.float32)
        return replace(basis, vectors=basis.vectors * signs), inputs * signs

    monkeypatch.setattr(back_projection_training, "leading_eigenbasis", mirrored)
    folder, whole = run_it(resume=True, **FORGETFUL), uninterrupted(**FORGETFUL)
    for a, b in zip(weights_of(folder), weights_of(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_run_cut_short_before_its_first_checkpoint_cannot_go_on(run_it, run_until):
    run_until("before its checkpoint", 1)
    with pytest.raises(UserError, match="there is no checkpoint"):
        run_it(resume=True)


def test_completed_run_cannot_go_on_and_is_left_as_it_is(run_it):
    folder = run_it()
    before = contents(folder)
    with pytest.raises(UserError, match=r"run t is completed"):
        run_it(resume=True)
    assert contents(folder) == before


def test_other_flags_are_listed_and_the_record_is_left_as_it_is(run_it, run_until, tmp_path):
    run_until("after its checkpoint", 2)
    before = contents(tmp_path / "ploting_data" / "t")
    with pytest.raises(UserError) as caught:
        run_it(resume=True, epochs=5, momentum=0.5)
    assert "epochs was 3 and is 5; momentum was 0.9 and is 0.5;" in str(caught.value)
    assert contents(tmp_path / "ploting_data" / "t") == before
    assert_whole(run_it(resume=True, verbose=True, rank_timeout=7.0))  # these may differ


def test_other_data_are_refused(run_it, run_until, tmp_path):
    path, rng = str(tmp_path / "mine.npz"), np.random.default_rng(0)
    for name in ("first", "second"):
        x = rng.standard_normal((800, 4))
        y = (x[:, 0] > 0).astype(int)
        np.savez(path, x_train=x[:600], y_train=y[:600], x_test=x[600:], y_test=y[600:])
        if name == "first":
            run_until("after its checkpoint", 2, dataset=path)
    with pytest.raises(UserError, match=r"the data is not the same: .*sha256 was"):
        run_it(resume=True, dataset=path)


class WithTwin(Alone):
    """Rank 0 of two whose shards are the same."""

    size = 2

    def all_sum(self, array):
        array *= 2

    def gather(self, value):
        return [value, value]


def test_another_number_of_processes_is_refused(run_it, run_until, tmp_path):
    run_until("after its checkpoint", 2, ranks=WithTwin(), **FORGETFUL)
    with pytest.raises(UserError, match=r"had 2 processes, now there are 1: start as many"):
        run_it(resume=True, **FORGETFUL)
    assert_whole(run_it(resume=True, ranks=WithTwin(), **FORGETFUL))


# What happened before the run was cut short.


@pytest.mark.parametrize(
    ("changed", "best", "cut"),
    [({}, 3, 3), ({"step_size": 0.1, "schedule": "constant"}, 1, 2)],
)
def test_best_weights_survive_a_resumption_that_does_not_better_them(
    run_it, run_until, uninterrupted, changed, best, cut
):
    flags = FORGETFUL | changed
    whole = uninterrupted(**flags)
    assert np.load(whole / "train_loss.npy").argmin() + 1 == best
    run_until("after its checkpoint", cut, **flags)
    assert_same_bits(run_it(resume=True, **flags), whole)


def test_results_survive_a_resumption(run_it, run_until, uninterrupted):
    run_until("after its checkpoint", 3, **FORGETFUL)
    folders = run_it(resume=True, **FORGETFUL), uninterrupted(**FORGETFUL)
    now, then = (read(folder)["final_metrics"] for folder in folders)
    assert now["saved_epoch"] == then["saved_epoch"]
    assert now["saved_train_loss"] == then["saved_train_loss"]


def test_anomalies_survive_a_resumption(run_it, run_until, monkeypatch):
    record_epoch = Run.record_epoch

    def troubled(run, epoch, **numbers):
        if epoch == 1:
            run.anomaly("epoch 1: trouble in layer 2")
        record_epoch(run, epoch, **numbers)

    monkeypatch.setattr(Run, "record_epoch", troubled)
    run_until("after its checkpoint", 2)
    assert "epoch 1: trouble in layer 2" in read(run_it(resume=True))["anomalies"]
