"""Runs that were cut short and go on from their checkpoint: the uninterrupted run, to the bit."""

import json
import os
import signal
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.optimizer import BackProjection
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.pauses import Pauses
from new_algorithm.cli.ranks import Ranks
from new_algorithm.cli.signals import Stopped
from new_algorithm.methods import back_projection_training
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.chunks import chunk_rows_in_force
from new_algorithm.methods.method import Problem
from new_algorithm.n_layer_relu_data import Config, in_force, train, train_and_record
from new_algorithm.record import figures
from new_algorithm.record.checkpoint import LATEST, load_checkpoint, save_checkpoint
from new_algorithm.record.run import Run
from new_algorithm.record.weights import BEST_FILE, WEIGHTS_FILE
from tests.back_projection.problems import in_processes

FORGETFUL = {"solver": "gradient", "order": "simultaneous", "step_size": 0.02}
CHUNK_ROWS = 100
EVERY_STEP = {"checkpoint_minutes": 1e-9}
KINDS = {}, {"chunk_rows": 20}, {"chunk_rows": 100, "solver": "cg"}, {"step_size": 30.0}
STOPS = {"within an epoch": 1, "before its checkpoint": 1, "after its checkpoint": 2}


@pytest.fixture(autouse=True, scope="module")
def without_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_run", lambda *_: [])
        yield


def run_in(root, tag="t", resume=False, dataset="synthetic", ranks=None, **flags):
    """Train for three epochs of 9 iterations, and return the folder of the record."""
    settings = {"num_layers": 3, "hidden_dim": 8, "epochs": 3, "batch_size": 64} | flags
    config = in_force(Config(dataset=dataset, tag=tag, train_limit=600, **settings), rows=600)
    data = load_dataset(dataset, train_limit=600, held_out=config.held_out)
    script = root / "new_algorithm" / "toy.py"
    with Run.open(
        script=script, config=config, data=data.provenance(), root=root, resume=resume
    ) as run:
        ranks = ranks or Ranks()
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
        return run_in(root, f"t{len(list(root.glob('ploting_data/*')))}", **flags)

    return run


def read(folder):
    return json.loads((folder / "run.json").read_text())


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights_of(folder, name="weights.npz"):
    with np.load(folder / name) as file:
        return [file[f"layer_{layer}"] for layer in (1, 2, 3)]


def assert_whole(folder):
    """All epochs, each once, and nothing that a completed run does not need."""
    assert read(folder)["status"] == "completed"
    lines = (folder / "metrics_log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3"]
    lengths = {path.name: len(np.load(path)) for path in folder.glob("*.npy")}
    assert set(lengths.values()) == {3}
    assert np.load(folder / "epoch.npy").tolist() == [1, 2, 3]
    assert [path.name for path in folder.glob("*checkpoint*")] == [LATEST]


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
        *(("within an epoch", EVERY_STEP | kind) for kind in KINDS),
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


def test_basis_found_anew_with_other_signs_changes_nothing(
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


def test_run_goes_on_within_its_epoch(run_it, run_until, uninterrupted, tmp_path):
    """The 14th of 27 steps fails: the state is that after the 13th, the 4th of its epoch."""
    run_until("within an epoch", 2, **EVERY_STEP)
    saved = load_checkpoint(tmp_path / "ploting_data" / "t")
    assert saved.facts["steps_done"] == 4
    assert saved.arrays["optimizer/iteration"] == 13
    folder = run_it(resume=True)
    assert_whole(folder)
    assert_same_bits(folder, uninterrupted())


def test_run_cut_short_in_its_first_epoch_goes_on(run_it, run_until, uninterrupted):
    run_until("within an epoch", 1, **EVERY_STEP)
    folder = run_it(resume=True)
    assert read(folder)["resumed_after_epoch"] == 0
    assert_whole(folder)
    assert_same_bits(folder, uninterrupted())


def test_signal_lets_the_step_finish_and_saves(run_it, uninterrupted, monkeypatch):
    step, count = BackProjection.step, []

    def signalled(*arguments):
        count.append(1)
        if len(count) == 14:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(BackProjection, "step", signalled)
        with pytest.raises(Stopped) as ended:
            run_it()
    assert ended.value.code == 128 + signal.SIGTERM
    assert len(count) == 14, "no step after that of the signal"
    folder = run_it(resume=True)
    assert_whole(folder)
    assert_same_bits(folder, uninterrupted())


def test_completed_run_is_left_as_it_is_without_more_epochs(run_it):
    folder = run_it()
    before = contents(folder)
    with pytest.raises(UserError, match=r"completed, with 3 epochs: give more --epochs"):
        run_it(resume=True)
    with pytest.raises(UserError, match=r"with 3 epochs, and --epochs is 2: give more --epochs"):
        run_it(resume=True, epochs=2)
    with pytest.raises(UserError, match=r"the setting is not the same: momentum was 0.9 and is"):
        run_it(resume=True, epochs=4, momentum=0.5)
    assert contents(folder) == before


@pytest.mark.parametrize("schedule", ["constant", "warm-up-decay"])
def test_completed_run_goes_on_with_more_epochs(run_it, uninterrupted, tmp_path, capsys, schedule):
    """Under a constant schedule, as the run of all epochs; otherwise where that would be."""
    flags = FORGETFUL | {"schedule": schedule}
    whole, before = uninterrupted(epochs=5, **flags), contents(run_it(epochs=2, **flags))
    folder = run_it(resume=True, epochs=5, **flags)
    told = capsys.readouterr().out
    assert "Schedule: that of 5 epochs, where it was that of 2: " in told
    assert read(folder)["lengthened_after"] == [2]
    note = tmp_path / "figures" / "t" / "README.md"
    assert "5 of 5 epochs (lengthened after 2)" in note.read_text()
    kept = contents(folder)[Path("metrics_log.csv")]
    assert kept.startswith(before[Path("metrics_log.csv")])
    assert read(folder)["status"] == "completed"
    assert np.load(folder / "epoch.npy").tolist() == [1, 2, 3, 4, 5]
    if schedule == "constant":
        assert_same_bits(folder, whole)
    else:
        assert "goes on from 0.841, where it ended at 0.0397" in told  # (1 - 18.5/45)/.7


def test_longer_run_killed_before_it_has_saved_anything_goes_on(run_it, run_until, uninterrupted):
    flags = FORGETFUL | {"schedule": "constant"}
    run_it(epochs=2, **flags)
    run_until("within an epoch", 1, resume=True, epochs=4, **flags)
    folder = run_it(resume=True, epochs=4, **flags)
    assert_same_bits(folder, uninterrupted(epochs=4, **flags))


def test_other_flags_are_listed_and_the_record_is_left_as_it_is(run_it, run_until, tmp_path):
    run_until("after its checkpoint", 2)
    before = contents(tmp_path / "ploting_data" / "t")
    with pytest.raises(UserError) as caught:
        run_it(resume=True, epochs=5, momentum=0.5)
    assert "epochs was 3 and is 5; momentum was 0.9 and is 0.5;" in str(caught.value)
    assert contents(tmp_path / "ploting_data" / "t") == before
    assert_whole(run_it(resume=True, verbose=True, rank_timeout=7.0))  # these may differ


def without_shuffles(arrays, facts):
    del facts["shuffles"]


def of_another_network(arrays, facts):
    arrays["optimizer/_parameters/flat"] = np.zeros(5, np.float32)


def without_an_epoch(arrays, facts):
    facts["rows"][0].pop("epoch")


def with_another_generator(arrays, facts):
    facts["shuffles"] = [{"x": 1}]


def of_a_list(arrays, facts):
    facts["config"] = [1, 2]


def with_a_best_epoch_to_come(arrays, facts):
    facts["results"]["best_epoch"] = 9


def with_a_best_epoch_between(arrays, facts):
    facts["results"]["best_epoch"] = 1.5


def without_direction(arrays, facts):
    for name in [name for name in arrays if "direction" in name]:
        del arrays[name]


@pytest.mark.parametrize(
    "change",
    [
        *(without_shuffles, of_another_network, without_an_epoch, with_another_generator),
        *(of_a_list, without_direction, with_a_best_epoch_to_come, with_a_best_epoch_between),
    ],
)
def test_sound_checkpoint_of_something_else_is_one_line(run_it, run_until, tmp_path, change):
    run_until("after its checkpoint", 2)
    folder = tmp_path / "ploting_data" / "t"
    arrays, facts = load_checkpoint(folder)
    change(arrays, facts)
    save_checkpoint(folder, arrays, facts)
    with pytest.raises(UserError, match=r"the checkpoint is not one of this script") as refusal:
        run_it(resume=True)
    assert "\n" not in str(refusal.value)
    assert len((folder / "metrics_log.csv").read_text().splitlines()) == 3, "epochs are kept"


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


class WithTwin(Ranks):
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


class InThreads(Ranks):
    """Two ranks in threads of one process; whatever they exchange lies on a table."""

    size = 2

    def __init__(self, rank, all_sum, table):
        self.rank, self.all_sum, self._table = rank, all_sum, table

    def gather(self, value):
        self._table[self.rank] = value
        self.all_sum(np.zeros(1))  # which waits for the other
        values = list(self._table)
        self.all_sum(np.zeros(1))
        return values


def test_ranks_that_go_on_shuffle_as_if_never_stopped():
    settings = {"num_layers": 2, "hidden_dim": 8, "epochs": 3, "batch_size": 64} | FORGETFUL
    config = in_force(Config(dataset="synthetic", chunk_rows=CHUNK_ROWS, **settings), rows=600)
    problem = Problem(load_dataset("synthetic", train_limit=600), (8,), epochs=3, seed=0)
    table = [None, None]

    def work(rank, all_sum, epochs, saved=None):
        training = Training(config, problem, CHUNK_ROWS, InThreads(rank, all_sum, table))
        if saved is not None:
            training.load_state_dict(*saved)
        for _ in islice(train(training, Pauses()), epochs):
            pass
        return training.weights, training.state_dict()

    (_, saved), _ = in_processes(2, partial(work, epochs=1))
    first, second = saved[1]["shuffles"]
    assert first != second, "each rank shuffles its own rows"
    resumed = in_processes(2, partial(work, epochs=2, saved=saved))
    for (weights, _), (expected, _) in zip(
        resumed, in_processes(2, partial(work, epochs=3)), strict=True
    ):
        for found, array in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(found, array)


# What happened before the run was cut short.


@pytest.mark.parametrize(
    ("changed", "best", "cut"), [({"step_size": 0.01}, 3, 3), ({"step_size": 0.1}, 1, 2)]
)
def test_best_weights_survive_a_resumption_that_does_not_better_them(
    run_it, run_until, uninterrupted, changed, best, cut
):
    steps = {"outer": "momentum", "weight_decay": 0.0, "decoupled_decay": 0.0}
    steps |= {"lambda_w_layers": (3.0, 0.1, 0.1), "schedule": "constant"}
    flags = FORGETFUL | steps | {"held_out": "validation"} | changed
    whole = uninterrupted(**flags)
    assert np.load(whole / "validation_accuracy.npy").argmax() + 1 == best
    run_until("after its checkpoint", cut, **flags)
    folder = run_it(resume=True, **flags)
    assert_same_bits(folder, whole)
    assert read(folder)["final_metrics"]["best_epoch"] == best
    one, other, last = (
        weights_of(*place)
        for place in ((folder, BEST_FILE), (whole, BEST_FILE), (whole, WEIGHTS_FILE))
    )
    for a, b, c in zip(one, other, last, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.array_equal(a, c) == (best == 3)


def test_results_survive_a_resumption(run_it, run_until, uninterrupted):
    run_until("after its checkpoint", 3, **FORGETFUL)
    folders = run_it(resume=True, **FORGETFUL), uninterrupted(**FORGETFUL)
    now, then = (read(folder)["final_metrics"] for folder in folders)
    assert now["input_rank"] == then["input_rank"]
    assert now["input_explained_share"] == then["input_explained_share"]


def test_anomalies_survive_a_resumption(run_it, run_until, monkeypatch):
    record_epoch = Run.record_epoch

    def troubled(run, epoch, **numbers):
        if epoch == 1:
            run.anomaly("epoch 1: trouble in layer 2")
        record_epoch(run, epoch, **numbers)

    monkeypatch.setattr(Run, "record_epoch", troubled)
    run_until("after its checkpoint", 2)
    assert "epoch 1: trouble in layer 2" in read(run_it(resume=True))["anomalies"]
