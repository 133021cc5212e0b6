"""One run: the same bits again, the test rows looked at once, and what happens when it diverges."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from datasets.synthetic import SYNTHETIC
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments import method_training, task_data
from new_algorithm.experiments import single_run as single_run_module
from new_algorithm.experiments.definition import FOLDER, load_experiment
from new_algorithm.experiments.experiment import run_tag, slug
from new_algorithm.experiments.single_run import SingleRunConfig, is_done, single_run
from new_algorithm.experiments.task_data import warm_up
from new_algorithm.experiments.trainable import SEARCH_SEED
from new_algorithm.experiments.tuning import Tuning
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import REPOSITORY, Layout
from tests.experiments.tiny_experiments import TASK, Pretender, alike, overhear, tiny
from tests.processes import assert_ends, starting

SCRIPT = REPOSITORY / "new_algorithm" / "compare_methods.py"
TEACHERS = ("back_projection", "sgd")  # in NumPy, and in torch
VALIDATION = slice(5_000, 6_000)  # of the synthetic rows
TEST = slice(6_000, None)


@pytest.fixture(autouse=True)
def _data_anew():
    task_data._load.cache_clear()
    yield
    task_data._load.cache_clear()


def config_of(method, seed=0, **changed):
    given = {"task": TASK, "settings": METHODS[method].defaults, "epochs": TASK.epochs}
    return SingleRunConfig(
        tag=run_tag(TASK.name, method, seed),
        overwrite=True,
        seed=seed,
        variation=method,
        method=method,
        **given | changed,
    )


def run(folder, method, seed=0, **changed):
    """Return the record and the series of a run."""
    layout = Layout(folder, "tiny")
    config = config_of(method, seed, **changed)
    return single_run(config, layout, SCRIPT), read_series(layout.record(config.tag))


def pretend(monkeypatch, **how):
    monkeypatch.setattr(single_run_module, "warm_up", lambda *_: None)
    one = Pretender(**how)
    monkeypatch.setitem(METHODS, "pretender", one.method())
    return one


def poison(monkeypatch, rows, features):
    """Give `rows` of the raw data other features and labels, before anything is made of them."""

    def drawn(seed):
        inputs, labels = original.draw(seed)
        inputs, labels = inputs.copy(), labels.copy()
        inputs[rows] = features(inputs[rows])
        labels[rows] = 3 - labels[rows]
        return inputs, labels

    original = SYNTHETIC["synthetic"]
    monkeypatch.setitem(SYNTHETIC, "synthetic", original._replace(draw=drawn))
    task_data._load.cache_clear()


def chosen(experiment, layout):
    return Tuning(TASK, experiment.variations[0], experiment.trials, layout, threads=1).choose()


def results(folder, monkeypatch, method):
    """Return all that a search and a run with what it chose leave behind, and the weights."""
    with monkeypatch.context() as patch:
        heard = overhear(patch, method)
        for module in (method_training, single_run_module):
            patch.setattr(module, "warm_up", lambda *_: None)
        experiment = tiny(method)
        found = chosen(experiment, Layout(folder, "tiny"))
        record, series = run(folder, method, settings=found.settings)
    return found, record["final_metrics"], series, [weights for _, weights in heard]


def untouched_by_test_rows(metrics):
    return alike([{name: v for name, v in metrics.items() if not name.startswith("test_")}])


@pytest.mark.parametrize("method", TEACHERS)
def test_test_rows_are_seen_by_nothing_but_the_test_scores(method, tmp_path, monkeypatch):
    found, metrics, series, weights = results(tmp_path / "sound", monkeypatch, method)
    poison(monkeypatch, TEST, lambda inputs: np.full_like(inputs, 1e6))
    poisoned = results(tmp_path / "poisoned", monkeypatch, method)
    assert alike(poisoned[0].trials) == alike(found.trials)
    assert (poisoned[0].settings, poisoned[0].epochs) == (found.settings, found.epochs)
    assert untouched_by_test_rows(poisoned[1]) == untouched_by_test_rows(metrics)
    assert not any(name.startswith("test_") for name in series)
    for name in series.keys() - {"train_cpu_seconds", "train_wall_seconds"}:
        assert series[name].tobytes() == poisoned[2][name].tobytes(), name
    assert len(weights) == len(poisoned[3]) == 3  # two trials and the run
    for ours, theirs in zip(weights, poisoned[3], strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
    assert poisoned[1]["test_accuracy"] != metrics["test_accuracy"]


@pytest.mark.parametrize("method", TEACHERS)
def test_validation_rows_are_not_trained_on(method, tmp_path, monkeypatch):
    heard = overhear(monkeypatch, method)
    sound, _ = run(tmp_path / "sound", method)
    poison(monkeypatch, VALIDATION, lambda inputs: inputs + 1000)
    poisoned, _ = run(tmp_path / "poisoned", method)
    (_, ours), (_, theirs) = [one for one in heard if one[0].data.x_train.shape == (300, 20)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
    changed = {
        name
        for name, value in sound["final_metrics"].items()
        if value != poisoned["final_metrics"][name] and "seconds" not in name
    }
    assert changed - {"peak_memory_mb"} == {"validation_loss_nats", "validation_accuracy_fraction"}


def test_test_rows_are_looked_at_once_a_run_and_never_in_a_search(tmp_path, monkeypatch):
    looks, loaded = [], []

    class Watched:
        def __init__(self, data):
            self._data, self.searched = data, data.searched

        def __getattr__(self, name):
            looks.append(name)
            return getattr(self._data, name)

    def load(name, **given):
        loaded.append(given["held_out"])
        return original_load(name, **given)

    original, original_load = task_data.task_data, task_data.load_dataset
    monkeypatch.setattr(task_data, "load_dataset", load)
    for module in (method_training, single_run_module):
        monkeypatch.setattr(module, "task_data", lambda task: Watched(original(task)))
    experiment = tiny("foof")
    found = chosen(experiment, Layout(tmp_path, "tiny"))
    assert looks == []
    assert set(loaded) == {"unseen", "validation"}
    run(tmp_path, "foof", settings=found.settings)
    assert looks == ["x_test", "y_test"]
    run(tmp_path, "foof", seed=1, settings=found.settings)
    assert looks == ["x_test", "y_test"] * 2


def test_a_run_has_its_own_seed_and_a_search_none_of_an_experiments(tmp_path, monkeypatch):
    heard = overhear(monkeypatch, "foof")
    monkeypatch.setattr(single_run_module, "warm_up", lambda *_: None)
    for seed in (3, 8):
        record, _ = run(tmp_path, "foof", seed=seed)
        assert record["seeds"] == [seed]
    assert [problem.seed for problem, _ in heard] == [3, 8]
    assert all(layer.dtype == np.float32 for _, weights in heard for layer in weights)
    names = [*FOLDER.rglob("*.toml")]
    assert len(names) > 4
    assert all(SEARCH_SEED not in load_experiment(str(name)).seeds for name in names)


@pytest.mark.parametrize("method", TEACHERS)
def test_same_seed_same_bits(method, tmp_path):
    (first, one), (second, two), (_, other) = (
        run(tmp_path / name, method, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert alike([first["final_metrics"]]) == alike([second["final_metrics"]])
    for name in one.keys() - {"train_cpu_seconds", "train_wall_seconds"}:
        assert one[name].tobytes() == two[name].tobytes(), name
    assert one["train_loss"].tobytes() != other["train_loss"].tobytes()


def test_test_scores_are_those_of_the_last_weights_on_the_test_rows(tmp_path, monkeypatch):
    heard = overhear(monkeypatch, "foof")
    record, series = run(tmp_path, "foof")
    problem, weights = heard[-1]
    raw, labels = SYNTHETIC["synthetic"].draw(0)
    mean, sd = raw[:5_000].mean(axis=0), raw[:5_000].std(axis=0)
    rows = append_ones(((raw[TEST] - mean) / sd).astype(np.float32))
    scores = evaluate(problem.loss, weights, [(rows, labels[TEST])])
    metrics = record["final_metrics"]
    assert metrics["test_accuracy"] == pytest.approx(scores.accuracy, abs=1 / 2_000)
    assert metrics["test_loss"] == pytest.approx(scores.loss, rel=1e-4)
    assert metrics["train_loss_nats"] == series["train_loss"][-1]
    assert len(series["train_loss"]) == TASK.epochs


@pytest.mark.parametrize("epochs_made", [0, 1, 2])
def test_divergence_is_recorded_and_scored_by_the_last_good_weights(
    epochs_made, tmp_path, monkeypatch
):
    one = pretend(monkeypatch, breaks=lambda settings, epoch: epoch > epochs_made)
    record, series = run(tmp_path, "pretender", epochs=5)
    assert record["status"] == "diverged"
    assert f"epoch {epochs_made + 1}: as planned" in record["error"]
    assert len(series.get("epoch", ())) == epochs_made
    if epochs_made == 0:
        assert not any(name.startswith("test_") for name in record["final_metrics"])
        return
    problem, _ = one.calls[0]
    weights = [0.5**epochs_made * layer for layer in problem.start()[1]]
    unseen = task_data.task_data(TASK)
    rows = [(append_ones(unseen.x_test), unseen.y_test)]
    expected = evaluate(problem.loss, weights, rows)
    assert record["final_metrics"]["test_loss"] == pytest.approx(expected.loss, rel=1e-6)
    assert record["final_metrics"]["test_accuracy"] == expected.accuracy
    assert is_done(config_of("pretender", epochs=5), Layout(tmp_path, "tiny"))


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("a bug"), "failed")]
)
def test_other_errors_pass_as_they_are_and_the_test_rows_stay_unseen(
    error, status, tmp_path, monkeypatch
):
    def breaks(settings, epoch):
        if epoch == 2:
            raise error
        return False

    pretend(monkeypatch, breaks=breaks)
    with pytest.raises(type(error)):
        run(tmp_path, "pretender")
    layout, config = Layout(tmp_path, "tiny"), config_of("pretender")
    record = single_run_module.read_record(layout.record(config.tag))
    assert record["status"] == status
    assert not any(name.startswith("test_") for name in record["final_metrics"])
    assert not is_done(config, layout)


def test_finished_runs_are_done_and_those_of_other_settings_refused(tmp_path, monkeypatch):
    pretend(monkeypatch)
    layout, config = Layout(tmp_path, "tiny"), config_of("pretender")
    assert not is_done(config, layout)
    run(tmp_path, "pretender")
    assert is_done(config, layout)
    for changed in (
        {"settings": {"size": 6.0}},
        {"epochs": 3},
        {"task": replace(TASK, widths=(7,))},
        {"method": "foof"},
        {"threads": 2},
    ):
        with pytest.raises(UserError) as refusal:
            is_done(replace(config, **changed), layout)
        text = str(refusal.value)
        assert f"made with another {next(iter(changed))}" in text
        assert f"ploting_data/tiny/{config.tag}/" in text
        assert "--overwrite" in text


def test_peak_memory_is_that_of_training(tmp_path, monkeypatch):
    peaks = []
    for megabytes in (0, 200, 50):  # the smaller after the larger: each begins anew
        pretend(monkeypatch, memory=megabytes * 10**6)
        record, _ = run(tmp_path, "pretender", seed=megabytes)
        peaks.append(record["final_metrics"].get("peak_memory_mb"))
    if None in peaks:
        pytest.skip("memory is measured on Linux alone")
    assert peaks == pytest.approx([0, 200, 50], abs=10)


def test_what_a_method_loads_at_first_use_is_not_measured(tmp_path):
    """In a process of its own: torch and its optimisers would be 270 MB of the first run."""
    code = (
        "from pathlib import Path\n"
        "from tests.experiments.test_single_run import run\n"
        f"for seed in (0, 1): print(run(Path({str(tmp_path)!r}), 'momentum', seed)"
        "[0]['final_metrics'].get('peak_memory_mb', 0))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    first, second = map(float, finished.stdout.split())
    assert first == pytest.approx(second, abs=10)


def test_warming_up_survives_a_method_that_diverges(monkeypatch):
    one = Pretender(breaks=lambda settings, epoch: True)
    monkeypatch.setitem(METHODS, "diverges at once", one.method())
    for two_classes in (False, False, True):
        warm_up("diverges at once", two_classes)
    assert [problem.data.num_classes for problem, _ in one.calls] == [4, 2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MNIST, 8 × 64", "MNIST_8_x_64"),
        ("no solve: the gradient over λ_w", "no_solve_the_gradient_over_w"),
        ("28-256-256-1", "28-256-256-1"),
    ],
)
def test_names_of_files(name, expected):
    assert slug(name) == expected


PARENT = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from new_algorithm.experiments.single_run import begin_worker

def begin_late(parent):
    print(os.getpid(), flush=True)
    while os.getppid() == parent:
        time.sleep(0.01)
    begin_worker(1)

if __name__ == "__main__":
    begin = (begin_late, (os.getpid(),)) if sys.argv[1] == "late" else (begin_worker, (1,))
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), *begin)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("when", ["at work", "late"])
def test_worker_ends_with_a_parent_that_is_killed(tmp_path, when):
    """late: while the worker still imports."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with starting() as start:
        parent = start([sys.executable, str(tmp_path / "parent.py"), when], env=environment)
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    assert_ends(worker)
