import errno
import json
import os
import re
import signal
import sys

import numpy as np
import pytest

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.record import figures
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.history import History
from new_algorithm.record.layout import Layout
from new_algorithm.record.provenance import reset_peak_memory
from new_algorithm.record.reservation import hold_lock


def read(tmp_path, tag="t"):
    return json.loads((tmp_path / "ploting_data" / tag / "run.json").read_text())


def test_a_completed_run_leaves_every_file(tmp_path, open_run, record_epochs, capsys):
    with open_run() as run:
        record_epochs(run, epochs=3, cg_iterations=[[2, 3]] * 3, step_size=[0.1, 0.2, 0.3])
        run.result(seconds_to_98_percent=np.float32(1.5))
        run.save_weights([np.eye(2), np.ones(3)])
    assert {path.name for path in run.folder.iterdir()} == {
        "run.json",
        "metrics_log.csv",
        "timing_log.csv",
        "weights.npz",
        "epoch.npy",
        "train_loss.npy",
        "test_loss.npy",
        "train_accuracy.npy",
        "test_accuracy.npy",
        "layer_norms.npy",
        "cg_iterations.npy",
        "train_cpu_seconds.npy",
        "train_wall_seconds.npy",
        "step_size.npy",
    }
    drawn = {path.name for path in (tmp_path / "figures" / "t").iterdir()}
    assert drawn == {
        "README.md",
        "loss.png",
        "accuracy.png",
        "layer_norms.png",
        "cg_iterations.png",
    }
    assert "[t](t/README.md)" in (tmp_path / "figures" / "local_runs.md").read_text()
    weights = np.load(run.folder / "weights.npz")
    assert weights["layer_2"].tolist() == [1, 1, 1]
    record = read(tmp_path)
    assert record["status"] == "completed"
    assert record["final_metrics"]["epoch"] == 3
    assert record["final_metrics"]["test_accuracy_fraction"] == 1 - 0.2 / 3
    assert record["final_metrics"]["seconds_to_98_percent"] == 1.5
    output = capsys.readouterr().out
    assert "Epoch 3: loss=0.3333, test_acc=0.9333, test_loss=0.3667" in output
    assert (tmp_path / record["log"]).read_text() == output


@pytest.mark.usefixtures("without_figures")
def test_the_record_says_what_ran(tmp_path, open_run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["anything", "--epochs", "2", "--tag", "a b"])
    with open_run(run_options={"data": {"rows": np.int64(3), "penalty": np.inf}}, seed=7) as run:
        assert read(tmp_path)["status"] == "running"
        run.anomaly("layer 2: conjugate gradients stalled at iteration 5")
        assert read(tmp_path)["anomalies"]
    record = read(tmp_path)
    assert record["command"] == "python new_algorithm/toy.py --epochs 2 --tag 'a b'"
    assert record["config"]["seed"] == 7
    assert record["config"]["tag"] == "t"
    assert record["seeds"] == [7]
    assert record["data"] == {"rows": 3, "penalty": "inf"}
    assert record["packages"]["numpy"] == np.__version__
    assert record["git"] is None
    assert record["start"][:10] <= record["end"][:10]
    assert record["start"][-6] in "+-"
    assert str(tmp_path) not in (run.folder / "run.json").read_text()


@pytest.mark.usefixtures("without_figures")
def test_peak_memory_is_recorded_of_a_run_that_has_the_process_to_itself(tmp_path, open_run):
    try:
        resident = reset_peak_memory()
    except (OSError, AttributeError):
        pytest.skip("memory is measured on Linux alone")
    with open_run():
        assert np.ones(100_000_000, dtype=np.uint8).all()
    peak = read(tmp_path)["final_metrics"]["peak_memory_mb"]
    assert peak - resident / 1e6 == pytest.approx(100, abs=15)
    with open_run("one_of_many", run_options={"group": "many"}) as run:
        pass
    assert read(run.folder.parents[2], "many/one_of_many")["final_metrics"] == {}


@pytest.mark.usefixtures("without_figures")
def test_the_tag_is_dated_by_default(open_run):
    with open_run(tag=None) as run:
        pass
    assert run.tag.startswith("toy_2")


@pytest.mark.usefixtures("without_figures")
def test_equal_numbers_give_equal_bytes_whatever_the_times(tmp_path, open_run, record_epochs):
    for tag, times in (("a", [1.0, 2.0]), ("b", [1.5, 9.0])):
        with open_run(tag) as run:
            record_epochs(run, 2, cpu_seconds=times, wall_seconds=times)
    a, b = (tmp_path / "ploting_data" / tag for tag in "ab")
    assert (a / "metrics_log.csv").read_bytes() == (b / "metrics_log.csv").read_bytes()
    assert (a / "timing_log.csv").read_bytes() != (b / "timing_log.csv").read_bytes()


@pytest.mark.usefixtures("without_figures")
def test_validation_is_named_everywhere(tmp_path, open_run, record_epochs, capsys):
    data = {"name": "toy", "num_classes": 2, "held_out": "validation"}
    with open_run(run_options={"data": data}) as run:
        record_epochs(run)
    assert "val_acc=0.9333, val_loss=0.3667" in capsys.readouterr().out
    assert not [path for path in run.folder.iterdir() if path.name.startswith("test")]
    assert (run.folder / "validation_accuracy.npy").exists()
    header = (run.folder / "metrics_log.csv").read_text().splitlines()[0]
    assert "validation_loss_nats" in header
    assert "test" not in header
    assert "test_" not in str(read(tmp_path)["final_metrics"])


def test_regression_prints_and_draws_the_loss_alone(tmp_path, open_run, capsys):
    with open_run(run_options={"data": {"name": "toy"}}) as run:
        run.record_epoch(
            1,
            train=Scores(0.5, None),
            held_out=Scores(0.25, None),
            layer_norms=[1],
            clock=TrainingClock(1, 1),
        )
    assert "Epoch 1: loss=0.5, test_loss=0.25" in capsys.readouterr().out
    assert not (tmp_path / "figures" / "t" / "accuracy.png").exists()
    assert (run.folder / "metrics_log.csv").read_text().startswith("epoch,train_loss,test_loss,")


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (RuntimeError("boom"), "failed", "RuntimeError: boom"),
        (DivergedError("epoch 2, layer 1: NaN"), "diverged", "epoch 2, layer 1: NaN"),
        (KeyboardInterrupt(), "interrupted", "stopped by Ctrl-C"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (SystemExit(0), "completed", None),
    ],
)
def test_a_run_that_ends_early_has_a_valid_record(
    tmp_path, open_run, record_epochs, error, status, text
):
    def train():
        with open_run() as run:
            record_epochs(run, 2)
            raise error

    before = sys.stdout, signal.getsignal(signal.SIGTERM)
    with pytest.raises(type(error)):
        train()
    assert (sys.stdout, signal.getsignal(signal.SIGTERM)) == before
    record = read(tmp_path)
    assert (record["status"], record["error"]) == (status, text)
    losses = np.load(tmp_path / "ploting_data" / "t" / "train_loss.npy")
    assert losses.tolist() == [1.0, 0.5]
    assert (tmp_path / "figures" / "t" / "README.md").exists()
    if status == "failed":
        assert "Traceback" in (tmp_path / record["log"]).read_text()


@pytest.mark.usefixtures("without_figures")
def test_arrays_are_there_after_each_epoch(open_run, record_epochs):
    with open_run() as run:
        record_epochs(run, 2)
        assert np.load(run.folder / "test_loss.npy").shape == (2,)


def test_a_run_without_an_epoch_has_a_note_and_no_figure(tmp_path, open_run):
    with open_run():
        pass
    assert [path.name for path in (tmp_path / "figures" / "t").iterdir()] == ["README.md"]


@pytest.mark.usefixtures("without_figures")
def test_divergence_keeps_its_status_and_the_last_good_weights(tmp_path, open_run, record_epochs):
    def train():
        with open_run() as run:
            run.save_weights([np.eye(2)])
            record_epochs(run, 2, train_loss=[1.0, np.nan])
            run.anomaly("layer 1: not positive definite at iteration 3")
            raise DivergedError("epoch 3, iteration 7, layer 1: NaN; lower --step-size")

    with pytest.raises(DivergedError):
        train()
    record = read(tmp_path)
    assert record["error"] == "epoch 3, iteration 7, layer 1: NaN; lower --step-size"
    assert record["status"] == "diverged"
    assert record["anomalies"] == ["layer 1: not positive definite at iteration 3"]
    assert record["final_metrics"]["train_loss_nats"] == "nan"
    weights = np.load(tmp_path / "ploting_data" / "t" / "weights.npz")
    assert weights["layer_1"].tolist() == np.eye(2).tolist()


@pytest.mark.usefixtures("without_figures")
def test_a_taken_tag_is_refused_and_overwrite_replaces_it(tmp_path, open_run, record_epochs):
    with open_run() as run:
        record_epochs(run, 3, extra=[1, 2, 3])
    with pytest.raises(UserError, match="exists already"), open_run():
        pass
    assert np.load(run.folder / "extra.npy").tolist() == [1, 2, 3]
    with open_run(overwrite=True) as run:
        record_epochs(run, 1)
    assert not (run.folder / "extra.npy").exists()
    assert np.load(run.folder / "train_loss.npy").shape == (1,)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("error", [UserError("bad data"), DivergedError("epoch 1"), MemoryError()])
def test_overwritten_record_is_back_if_the_run_fails_before_its_first_results(
    tmp_path, open_run, record_epochs, capsys, error
):
    with open_run() as run:
        record_epochs(run, 3)

    def files():
        places = (run.folder, tmp_path / "figures")
        paths = [path for place in places for path in place.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in paths}

    def train():
        with open_run(overwrite=True) as again:
            again.save_weights([np.eye(2)])
            raise error

    before = files()
    with pytest.raises(type(error)):
        train()
    assert files() == before
    assert "the earlier record is back" in capsys.readouterr().out


@pytest.mark.usefixtures("without_figures")
def test_overwritten_record_is_back_if_the_disk_is_full(
    tmp_path, open_run, record_epochs, monkeypatch
):
    with open_run() as run:
        record_epochs(run, 3)
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def train():
        with open_run(overwrite=True) as again:
            monkeypatch.setattr(os, "fsync", full)
            again.result(trials=3)

    with pytest.raises(UserError, match="No space left on device"):
        train()
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_a_failure_in_drawing_loses_nothing_else(
    tmp_path, open_run, record_epochs, monkeypatch, capsys
):
    def fail(*_):
        raise ValueError("no ink")

    monkeypatch.setattr(figures, "draw_run", fail)
    with open_run() as run:
        record_epochs(run)
    assert read(tmp_path)["status"] == "completed"
    assert capsys.readouterr().err == (
        "notice: no figures of run t (no ink); its record is complete\n"
    )
    assert (tmp_path / "figures" / "t" / "README.md").exists()
    assert "[t](t/README.md)" in (tmp_path / "figures" / "local_runs.md").read_text()


@pytest.mark.usefixtures("without_figures")
def test_an_unwritable_log_folder_costs_the_log_alone(tmp_path, open_run, record_epochs, capsys):
    (tmp_path / "_logs").touch()
    with open_run() as run:
        record_epochs(run)
    assert read(tmp_path)["status"] == "completed"
    assert read(tmp_path)["log"] is None
    assert capsys.readouterr().err.count("notice") == 1


def test_an_unwritable_record_folder_is_the_users_to_mend(tmp_path, open_run):
    (tmp_path / "ploting_data").touch()
    before = sys.stdout
    with pytest.raises(UserError, match="ploting_data/ cannot be written"), open_run():
        pass
    assert sys.stdout is before


@pytest.mark.usefixtures("without_figures")
def test_a_disk_that_fills_up_stops_the_run_and_keeps_the_last_epoch(
    tmp_path, open_run, record_epochs, monkeypatch, capsys
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def train():
        with open_run() as run:
            record_epochs(run, 1)
            monkeypatch.setattr(os, "replace", full)
            record_epochs(run, 1)

    with pytest.raises(UserError, match="No space left on device") as caught:
        train()
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""  # the error itself is the one line
    lines = (tmp_path / "ploting_data" / "t" / "metrics_log.csv").read_text().splitlines()
    assert len(lines) == 3, "a row goes to the .csv before anything is replaced"
    assert np.load(tmp_path / "ploting_data" / "t" / "train_loss.npy").tolist() == [1.0]
    assert not list((tmp_path / "ploting_data" / "t").glob(".*.npy*"))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_last_save_does_not_spoil_it(
    tmp_path, open_run, record_epochs, monkeypatch, number
):
    save = History.save

    def interrupted_save(history):
        os.kill(os.getpid(), number)
        save(history)

    monkeypatch.setattr(History, "save", interrupted_save)
    with open_run() as run:
        record_epochs(run, 2)
    assert read(tmp_path)["status"] == "completed"


@pytest.mark.usefixtures("without_figures")
def test_sigterm_inside_the_block_raises_exit_143(tmp_path, open_run):
    def train():
        with open_run():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        train()
    assert caught.value.code == 143
    assert read(tmp_path)["status"] == "interrupted"
    assert read(tmp_path)["error"] == "stopped by SIGTERM"


@pytest.mark.usefixtures("without_figures")
def test_area_under_the_roc_curve_is_recorded_and_printed_beside_accuracy(
    tmp_path, open_run, capsys
):
    with open_run() as run:
        for epoch, auc in ((1, 0.75), (2, 0.8125)):
            run.record_epoch(
                epoch,
                train=Scores(0.5, 0.5, auc + 0.125),
                held_out=Scores(0.25, 0.5, auc),
                layer_norms=[1],
                clock=TrainingClock(1, 1),
            )
    told = capsys.readouterr().out
    assert "Epoch 2: loss=0.5, test_acc=0.5000, test_auc=0.8125, test_loss=0.25" in told
    assert np.load(run.folder / "test_auc.npy").tolist() == [0.75, 0.8125]
    assert np.load(run.folder / "train_auc.npy").tolist() == [0.875, 0.9375]
    assert read(tmp_path)["final_metrics"]["test_auc"] == 0.8125
    header = (run.folder / "metrics_log.csv").read_text().splitlines()[0].split(",")
    assert {"train_auc", "test_auc"} <= set(header)


def test_keep_leaves_the_folder_as_it_is_and_begins_a_new_record(tmp_path, open_run):
    kept = {"keep": True, "kind": "search"}
    with open_run(run_options=kept) as run:  # nothing is there yet
        (run.folder / "search.db").write_text("of the first")
        run.result(trials=1)
        run.anomaly("the first one's")
    picture = tmp_path / "figures" / "t" / "kept.png"
    picture.touch()
    with open_run(run_options=kept) as run:
        assert (run.folder / "search.db").read_text() == "of the first"
        assert picture.exists()
        assert read(tmp_path)["status"] == "running"
        assert read(tmp_path)["final_metrics"] == {}
        run.result(trials=2)
    assert (run.folder / "search.db").read_text() == "of the first"
    assert read(tmp_path)["status"] == "completed"
    assert read(tmp_path)["final_metrics"] == {"trials": 2}
    assert read(tmp_path)["anomalies"] == []


def test_what_was_kept_is_cleared_by_overwrite_and_refused_without_keep(tmp_path, open_run):
    with open_run(run_options={"keep": True}) as run:
        (run.folder / "search.db").touch()
    with pytest.raises(UserError, match="exists already"), open_run():
        pass
    assert (run.folder / "search.db").exists()
    with open_run(run_options={"keep": True}, overwrite=True) as run:
        assert not (run.folder / "search.db").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_kept_run_that_another_process_holds_is_refused(tmp_path, open_run, overwrite):
    with open_run(run_options={"keep": True}) as run:
        (run.folder / "search.db").touch()
    before = (run.folder / "run.json").read_bytes()
    again = open_run(run_options={"keep": True}, overwrite=overwrite)
    # the lock belongs to an opened file, not to a process: this one stands for another
    refused = pytest.raises(UserError, match="--tag t is in use by a running process")
    with hold_lock(Layout(tmp_path).lock("t")), refused, again:
        pass
    assert (run.folder / "search.db").exists()
    assert (run.folder / "run.json").read_bytes() == before


def test_keep_without_a_tag_is_a_run_like_any_other(open_run):
    runs = []
    for _ in range(2):
        with open_run(tag=None, run_options={"keep": True}) as run:
            runs.append(run.tag)
    assert runs[0].startswith("toy_2")
    assert runs[0] != runs[1]


def test_run_of_a_group_lies_below_it_and_has_a_note_alone(tmp_path, open_run, record_epochs):
    with open_run("mnist.Adam.0", run_options={"group": "leaderboard"}) as run:
        record_epochs(run)
        run.table("grid", [{"lr": 0.5}], "The grid:")
    assert run.folder == tmp_path / "ploting_data" / "leaderboard" / "mnist.Adam.0"
    assert [path.name for path in (tmp_path / "ploting_data").iterdir()] == ["leaderboard"]
    record = json.loads((run.folder / "run.json").read_text())
    assert (record["tag"], record["status"]) == ("mnist.Adam.0", "completed")
    (log,) = (tmp_path / "_logs" / "leaderboard").iterdir()
    assert record["log"] == f"_logs/leaderboard/{log.name}"
    assert "Epoch 3" in log.read_text()
    figures_of_all = [path for path in (tmp_path / "figures").rglob("*") if path.is_file()]
    note = tmp_path / "figures" / "leaderboard" / "mnist.Adam.0" / "README.md"
    assert figures_of_all == [note]  # and so there is no index either
    links = dict(re.findall(r"\[([^\]]+)\]\(([^)]+)\)", note.read_text()))
    assert [*links] == ["run.json", "metrics_log.csv", "timing_log.csv", "grid.csv"]
    for name, link in links.items():
        assert (note.parent / link).resolve() == (run.folder / name).resolve()
        assert (note.parent / link).exists()
    assert f"`{record['log']}`" in note.read_text()


@pytest.mark.usefixtures("without_figures")
def test_runs_of_groups_leave_the_index_alone_and_tags_to_others(tmp_path, open_run):
    index = tmp_path / "figures" / "local_runs.md"
    with open_run():
        pass
    before = index.read_bytes()
    for group in ("a", "b"):
        with open_run(run_options={"group": group}):  # the same tag
            pass
        with (
            pytest.raises(UserError, match=f"ploting_data/{group}/t/ exists already"),
            open_run(run_options={"group": group}),
        ):
            pass
    assert index.read_bytes() == before
    with open_run("other"):  # nor does the next rebuild list them
        pass
    assert index.read_text().count("README.md") == 2
