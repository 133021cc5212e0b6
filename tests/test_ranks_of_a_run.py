"""Runs over several processes, as torchrun starts them: equal numbers, and ranks that are lost."""

import csv
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from datasets import Dataset, load_dataset
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.chunks import chunk_rows_in_force
from new_algorithm.n_layer_relu_data import Config, in_force, train_and_record
from tests.processes import starting
from tests.recorder import Recorder

REPOSITORY = Path(__file__).resolve().parents[1]
DEEP = "new_algorithm/n_layer_relu_data.py"
RANKS = 3  # between which rows do not come out even
PATIENCE = 120  # seconds until a test gives up; nothing here takes a tenth of it on its own

# Every case in turn, in one go: it is importing torch that takes the time.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from new_algorithm.cli.ranks import join_ranks
from tests.test_ranks_of_a_run import CASES, trained

with join_ranks(60.0) as ranks:
    for name, flags in CASES.items():
        run = trained(ranks, **flags)
        scores = [(*epoch["train"], *epoch["held_out"]) for epoch in run.epochs]
        scores = np.array(scores, float)  # None as NaN
        np.savez(Path(sys.argv[1]) / f"{name}_{ranks.rank}", *run.weights, scores=scores)
"""

# own λ_h draws labels, of each process for rows of its own
SINGLE = {"lambda_h_layers": (math.inf,)}
DOUBLE = SINGLE | {"dtype": "float64"}
DRAWN = ("minibatches", "own_lambda_h")
CASES = {
    "single": SINGLE,
    "double": DOUBLE,
    "finite": DOUBLE | {"lambda_h_layers": (2.0,), "hidden_penalty": "passed-down"},
    "cg": DOUBLE | {"solver": "cg"},
    "projected": DOUBLE | {"target": "project"},
    "two_classes": DOUBLE | {"classes": 2},
    "uneven": DOUBLE | {"rows": 101},
    "two_rows": DOUBLE | {"rows": 2},
    "one_row": DOUBLE | {"rows": 1},
    "minibatches": {"batch_size": 64, "rows": 2_000},
    "own_lambda_h": {},
}


@cache
def data_of(rows: int | None, classes: int) -> Dataset:
    data = load_dataset("synthetic", train_limit=rows, test_limit=501)
    y_train, y_test = (y % classes for y in (data.y_train, data.y_test))
    return replace(data, y_train=y_train, y_test=y_test, num_classes=classes)


def trained(ranks=None, rows=None, classes=4, **flags) -> Recorder:
    settings = {"batch_size": "full", "epochs": 5, "num_layers": 3, "hidden_dim": 16} | flags
    data = data_of(rows, classes)
    config = in_force(Config(**settings), len(data.x_train))
    run, ranks = Recorder(), ranks or Ranks()
    train_and_record(config, data, chunk_rows_in_force(config, data, ranks), run, ranks)
    return run


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"in vain for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def start_ranks(work_tree):
    """start_ranks(2, script, *arguments) -> a Popen of each rank, its output piped as text.

    As torchrun starts them, and without torchrun, whose own import of torch takes seconds.
    """
    with starting() as start:

        def start_all(size: int, script: Path | str, *arguments: object) -> list[subprocess.Popen]:
            command = [sys.executable, str(work_tree / script), *map(str, arguments)]
            environment = os.environ | {
                "PYTHONPATH": str(REPOSITORY),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "TORCHELASTIC_RUN_ID": "tests",
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_ADDR": "localhost",
                "MASTER_PORT": str(free_port()),
            }
            return [
                start(
                    command,
                    cwd=work_tree,
                    env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.STDOUT,
                )
                for rank in range(size)
            ]

        yield start_all


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def output_of(process: subprocess.Popen, succeeds: bool) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode == 0) == succeeds, output
    return output


# The same numbers.


@pytest.fixture(scope="module")
def in_ranks(start_ranks, tmp_path_factory):
    """in_ranks(name) -> weights and scores of a case, as each rank has them."""
    folder = tmp_path_factory.mktemp("cases")
    script = folder / "cases.py"
    script.write_text(SCRIPT)
    for process in start_ranks(RANKS, script, folder):
        output_of(process, succeeds=True)

    def load(name: str) -> list[tuple[list, np.ndarray]]:
        found = []
        for rank in range(RANKS):
            with np.load(folder / f"{name}_{rank}.npz") as file:
                found.append(([file[f"arr_{i}"] for i in range(3)], file["scores"]))
        return found

    return load


@pytest.mark.parametrize("name", [name for name in CASES if name not in DRAWN])
def test_ranks_are_one_process(in_ranks, name):
    alone = trained(chunk_rows=700, **CASES[name])
    expected = [(*epoch["train"], *epoch["held_out"]) for epoch in alone.epochs]
    rtol = 1e-5 if name == "single" else 1e-12
    for weights, scores in in_ranks(name):
        for found, layer in zip(weights, alone.weights, strict=True):
            assert found.dtype == layer.dtype
            assert np.linalg.norm(found - layer) <= rtol * np.linalg.norm(layer)
        np.testing.assert_allclose(scores, np.array(expected, float), rtol=max(rtol, 1e-10))


@pytest.mark.parametrize("name", CASES)
def test_ranks_keep_the_same_bits(in_ranks, name):
    (first, first_scores), *others = in_ranks(name)
    for weights, scores in others:
        np.testing.assert_array_equal(scores, first_scores)
        for a, b in zip(weights, first, strict=True):
            np.testing.assert_array_equal(a, b)


def test_minibatches_over_ranks_train(in_ranks):
    alone = trained(**CASES["minibatches"])
    (_, scores), *_ = in_ranks("minibatches")
    losses = scores[:, 0]
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] == pytest.approx(alone.loss, rel=0.3)


class Second(Ranks):
    """Rank 1 beside a rank 0 whose rows are the same."""

    rank, size = 1, 2

    def all_sum(self, array: np.ndarray) -> None:
        array *= 2


def test_no_rank_but_the_first_prints(capsys):
    config, data = Config(verbose=True, epochs=1, batch_size=64), data_of(101, 4)
    config = in_force(config, rows=101)
    train_and_record(config, data, chunk_rows_in_force(config, data, Second()), None, Second())
    assert capsys.readouterr().out == ""


# Ranks that are lost. No Gram matrix is remembered, so that runs go on as if nothing had happened.

FLAGS = {
    **{"epochs": 150, "num_layers": 3, "hidden_dim": 16, "batch_size": "full"},
    **{"dtype": "float64", "gram_average": 0.0},
}
FOLDER = "ploting_data/ranks"
COMMAND = ["--dataset", "synthetic", "--train-limit", "1001", "--test-limit", "501"]
COMMAND += ["--tag", "ranks"]
COMMAND += [f"--{name.replace('_', '-')}={value}" for name, value in FLAGS.items()]
TRIANGLES = 17 * 18 // 2 + 17 * 18 // 2
WEIGHTS = 21 * 16 + 17 * 16 + 17 * 4


def epochs_in(folder: Path) -> list[str]:
    try:
        with (folder / "metrics_log.csv").open() as file:
            return [row["epoch"] for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def weights_in(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "weights.npz") as file:
        return [file[f"layer_{layer}"] for layer in (1, 2, 3)]


def told_epochs(output: str) -> list[int]:
    lines = [line for line in output.splitlines() if line.startswith("Epoch ")]
    return [int(line.split()[1].rstrip(":")) for line in lines]


@pytest.fixture
def start_until_epoch(start_ranks, work_tree):
    """start_until_epoch(3, "--flag") -> two ranks that have trained for so many epochs."""

    def start(epoch: int, *flags: str) -> list[subprocess.Popen]:
        processes = start_ranks(2, DEEP, *COMMAND, *flags)
        wait_until(lambda: len(epochs_in(work_tree / FOLDER)) >= epoch, "the first epochs")
        return processes

    return start


def assert_lost(folder: Path, process: subprocess.Popen, words: str) -> None:
    """It ended in order and says why, with weights that can be used."""
    told = told_epochs(output_of(process, succeeds=False))
    assert told == list(range(told[0], len(epochs_in(folder)) + 1)), "what is recorded is told"
    run = record(folder)
    assert run["status"] == "failed"
    assert words in run["error"]
    assert all(np.isfinite(layer).all() for layer in weights_in(folder))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_ranks_is_told_once(start_ranks, work_tree, number):
    tag = f"stopped_by_{number.name}"
    command = [word.replace("ranks", tag) for word in COMMAND]
    processes = start_ranks(2, DEEP, *command)
    folder = work_tree / "ploting_data" / tag
    wait_until(lambda: len(epochs_in(folder)) >= 3, "the first epochs")
    for process in processes:
        process.send_signal(number)
    first, other = (output_of(process, succeeds=False) for process in processes)
    by = "Ctrl-C" if number == signal.SIGINT else number.name
    assert first.splitlines()[-1] == f"Run {tag}: interrupted (stopped by {by})"
    assert other == "", "rank 0 alone tells"
    assert [process.returncode for process in processes] == [128 + number] * 2
    assert record(folder)["status"] == "interrupted"


def test_run_that_loses_a_rank_ends_and_goes_on(start_ranks, start_until_epoch, work_tree):
    folder, resume = work_tree / FOLDER, ("--rank-timeout", "5", "--resume")
    first, other = start_until_epoch(3, *resume[:2])
    other.send_signal(signal.SIGSTOP)
    lost = "another rank has died or gave no answer within 5 s"
    assert_lost(folder, first, f"rank 0: {lost}")
    assert record(folder)["error"].endswith("start the same command again with --resume")
    other.kill()
    other.wait()

    first, other = start_until_epoch(len(epochs_in(folder)) + 3, *resume)
    other.kill()
    assert_lost(folder, first, "another rank has died")

    first, other = start_ranks(2, DEEP, *COMMAND, *resume)
    output = output_of(first, succeeds=True)
    assert output_of(other, succeeds=True) == "", "rank 0 alone tells"
    run, every_epoch = record(folder), list(range(1, FLAGS["epochs"] + 1))
    assert run["status"] == "completed"
    assert run["resumed_after_epoch"] >= 5
    assert told_epochs(output) == every_epoch[run["resumed_after_epoch"] :]
    assert epochs_in(folder) == [str(epoch) for epoch in every_epoch]
    assert [path.name for path in folder.glob("checkpoint*")] == ["checkpoint.npz"]
    # of each sweep: counts, moments and triangles; of the batch after the step: its loss
    sent = 8 * (2 + WEIGHTS + TRIANGLES + 2)
    assert np.load(folder / "sent_bytes.npy").tolist() == [sent] * len(every_epoch)

    alone = trained(rows=1_001, chunk_rows=700, **FLAGS)
    losses = [epoch["train"].loss for epoch in alone.epochs]
    np.testing.assert_allclose(np.load(folder / "train_loss.npy"), losses, rtol=1e-7)
    for found, layer in zip(weights_in(folder), alone.weights, strict=True):
        assert np.linalg.norm(found - layer) < 1e-7 * np.linalg.norm(layer)
