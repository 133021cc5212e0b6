"""Every script as a user runs it: what it leaves behind, the same bits, and what it refuses."""

import csv
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import GIVEN
from new_algorithm.record import trial
from new_algorithm.record.run import Run
from tests.processes import assert_one_clear_line, starting
from tests.real_data import MNIST_FOLDER, REPOSITORY, needs_mnist

BENCH = "bench_mnist.py"
DATA = "new_algorithm/two_layer_relu_data.py"
TEACHER = "new_algorithm/two_layer_relu.py"
DEEP = "new_algorithm/n_layer_relu_data.py"
TRAINING = [BENCH, DATA]
SCRIPTS = [
    BENCH,
    *(f"new_algorithm/{p.name}" for p in (REPOSITORY / "new_algorithm").glob("[!_]*.py")),
]
SMALL = (
    *("--dataset", "synthetic", "--train-limit", "600", "--batch-size", "128"),
    *("--hidden-dim", "32", "--epochs", "2"),
)


def module_of(script):
    return script.removesuffix(".py").replace("/", ".")


def main_of(script):
    return importlib.import_module(module_of(script)).main


def record(work_tree, tag):
    return json.loads((work_tree / "ploting_data" / tag / "run.json").read_text())


@pytest.fixture
def start_script(work_tree):
    """start_script(DEEP, "--tag", "t") -> a Popen of a script, which ends with the test."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with starting() as start:
        yield lambda script, *arguments: start(
            [sys.executable, str(work_tree / script), *map(str, arguments)], env=environment
        )


@pytest.fixture(scope="module", params=TRAINING)
def twice(request, work_tree, run_script):
    """(script, tag, output) of a small run, and the tag of the same run once more."""
    script = request.param
    tags = [f"{Path(script).stem}_{name}" for name in ("first", "second")]
    outputs = []
    for tag in tags:
        finished = run_script(script, *SMALL, "--seed", 3, "--tag", tag)
        assert finished.returncode == 0, finished.stderr
        outputs.append(finished.stdout)
    return script, tags, outputs[0]


def test_a_training_run_leaves_the_whole_record(twice, work_tree):
    script, (tag, _), output = twice
    folder = work_tree / "ploting_data" / tag
    run = record(work_tree, tag)
    assert run["status"] == "completed"

    with (folder / "metrics_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        unit = "nats" if name.endswith("loss") else "fraction"
        column = [float(row[f"{name}_{unit}"]) for row in rows]
        np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), column)
    assert np.load(folder / "layer_norms.npy").shape == (2, 2)
    assert (folder / "cg_iterations.npy").exists() == (script == DATA)

    lines = [line for line in output.splitlines() if line.startswith("Epoch")]
    for line, row in zip(lines, rows, strict=True):
        loss, accuracy = float(row["train_loss_nats"]), float(row["test_accuracy_fraction"])
        assert line.startswith(f"Epoch {row['epoch']}: loss={loss:.4g}, test_acc={accuracy:.4f}")
    (log,) = (work_tree / "_logs").glob(f"*_{tag}.log")
    assert log.read_text() == output
    assert (work_tree / "figures" / tag / "loss.png").stat().st_size > 5000
    assert "synthetic" in (work_tree / "figures" / tag / "README.md").read_text()
    assert f"[{tag}]({tag}/README.md)" in (work_tree / "figures" / "local_runs.md").read_text()


def test_recorded_weights_give_the_recorded_accuracy(twice, work_tree):
    _, (tag, _), _ = twice
    data = load_dataset("synthetic", seed=3)
    with np.load(work_tree / "ploting_data" / tag / "weights.npz") as archive:
        weights = [archive["layer_1"], archive["layer_2"]]
    output = forward(weights, append_ones(data.x_test))[1]
    accuracy = (output.argmax(axis=1) == data.y_test).mean()
    recorded = record(work_tree, tag)["final_metrics"]["test_accuracy_fraction"]
    assert accuracy == pytest.approx(recorded, abs=1.5 / len(data.y_test))


def test_same_command_and_seed_give_the_same_bytes(twice, work_tree):
    script, tags, _ = twice
    first, second = (work_tree / "ploting_data" / tag for tag in tags)
    names = [path.name for path in first.glob("*.npy") if "seconds" not in path.name]
    assert len(names) == (7 if script == DATA else 6)
    for name in ["metrics_log.csv", *names]:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize(("script", "task"), [(DATA, "binary"), (BENCH, "regression")])
def test_data_of_your_own(script, task, work_tree, run_script, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 4, 3))
    y = np.abs(x[:, 0, :2]) if task == "regression" else (x[:, 0, 0] * x[:, 1, 1] > 0).astype(int)
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    tag = f"{task}_{Path(script).stem}"
    finished = run_script(
        script, "--dataset", path, "--batch-size", 50, "--epochs", 5, "--tag", tag, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / tag
    losses = np.load(folder / "train_loss.npy")
    assert losses[-1] < losses[0]
    assert (folder / "test_accuracy.npy").exists() == (task == "binary")


def test_held_out_row_far_outside_is_told(work_tree, run_script, tmp_path):
    x = np.random.default_rng(0).standard_normal((500, 4))
    y = (x[:, 0] > 0).astype(int)
    x[417, 2] = 1e25
    np.savez(tmp_path / "far.npz", x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    flags = ("--dataset", tmp_path / "far.npz", "--batch-size", 50, "--tag", "far")
    finished = run_script(DATA, *flags)
    assert finished.returncode == 0, finished.stderr
    assert "Anomaly: Held-out row 17, counted from 0, lies far outside" in finished.stdout
    assert "row 17" in " ".join(record(work_tree, "far")["anomalies"])
    assert "row 17" in (work_tree / "figures" / "far" / "README.md").read_text()


def test_deep_network_leaves_the_numbers_of_every_layer(work_tree, run_script):
    finished = run_script(DEEP, *SMALL, "--num-layers", 5, "--verbose", "--tag", "deep")
    assert finished.returncode == 0, finished.stderr
    folder, run = work_tree / "ploting_data" / "deep", record(work_tree, "deep")
    assert run["status"] == "completed"
    assert np.load(folder / "residual_passed.npy").shape == (2, 5)
    losses = np.load(folder / "train_loss.npy")
    assert losses[1] < losses[0]
    with np.load(folder / "weights.npz") as archive:
        weights = [archive[f"layer_{layer}"] for layer in range(1, 6)]
    data = load_dataset("synthetic")
    output = forward(weights, append_ones(data.x_test))[1]
    accuracy = (output.argmax(axis=1) == data.y_test).mean()
    recorded = run["final_metrics"]["test_accuracy_fraction"]
    assert accuracy == pytest.approx(recorded, abs=1.5 / len(data.y_test))
    assert (work_tree / "figures" / "deep" / "loss.png").exists()


def test_run_that_is_stopped_and_then_killed_ends_as_if_never_left(
    work_tree, start_script, run_script
):
    flags = ("--dataset", "synthetic", "--train-limit", 600, "--num-layers", 3, "--hidden-dim", 16)
    flags += ("--batch-size", 16, "--epochs", 25, "--tag")  # still at work when the signal comes
    assert run_script(DEEP, *flags, "whole").returncode == 0
    whole, cut = (work_tree / "ploting_data" / tag for tag in ("whole", "cut"))
    for number, status, epoch, resume in (
        (signal.SIGTERM, "interrupted", 3, ()),
        (signal.SIGKILL, "running", 9, ("--resume",)),
    ):
        process = start_script(DEEP, *flags, "cut", *resume)
        for line in process.stdout:
            if line.startswith(f"Epoch {epoch}:"):
                break
        process.send_signal(number)
        process.communicate(timeout=120)
        assert record(work_tree, "cut")["status"] == status
    finished = run_script(DEEP, *flags, "cut", "--resume")
    assert finished.returncode == 0, finished.stderr
    run = record(work_tree, "cut")
    assert run["status"] == "completed"
    assert 8 <= run["resumed_after_epoch"] < 25
    for name in ("metrics_log.csv", "epoch.npy", "train_loss.npy", "layer_norms.npy"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert np.load(cut / "epoch.npy").tolist() == list(range(1, 26))
    with np.load(cut / "weights.npz") as ours, np.load(whole / "weights.npz") as theirs:
        assert all((ours[layer] == theirs[layer]).all() for layer in theirs)
    assert [path.name for path in cut.glob("*checkpoint*")] == ["checkpoint.npz"]


GALLERY = "new_algorithm/meta_learning.py"


@pytest.mark.parametrize(
    ("script", "flags", "number"),
    [
        (DEEP, [*SMALL, "--epochs", "2000"], signal.SIGQUIT),
        (DATA, [*SMALL, "--epochs", "2000"], signal.SIGHUP),
        (TEACHER, ["--epochs", "20000"], signal.SIGINT),
        (BENCH, [*SMALL, "--epochs", "2000"], signal.SIGHUP),
        (GALLERY, ["--learner", "reptile", "--iterations", "50000"], signal.SIGTERM),
    ],
)
def test_a_signal_ends_every_script_in_order(work_tree, start_script, script, flags, number):
    tag = f"signalled_{Path(script).stem}"
    process = start_script(script, *flags, "--tag", tag)
    for line in process.stdout:
        if line.startswith("Epoch 1:"):
            break
    process.send_signal(number)
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (128 + number, "")
    assert f"Run {tag}: interrupted (stopped by " in output
    run, folder = record(work_tree, tag), work_tree / "ploting_data" / tag
    assert run["status"] == "interrupted"
    epochs = np.load(folder / "epoch.npy").tolist()
    assert len((folder / "metrics_log.csv").read_text().splitlines()) == 1 + len(epochs)
    assert run["final_metrics"]["epoch"] == epochs[-1]
    assert (work_tree / "figures" / tag / "README.md").exists()


@pytest.mark.parametrize("script", [DEEP, DATA, BENCH])
def test_check_tells_what_a_run_would_take_and_leaves_nothing(work_tree, run_script, script):
    def files():
        return {
            path
            for name in ("ploting_data", "figures", "_logs")
            for path in (work_tree / name).rglob("*")
        }

    before = files()
    finished = run_script(script, *SMALL, "--check", "--tag", "checked")
    assert finished.returncode == 0, finished.stderr
    told = finished.stdout
    assert "Data: synthetic, 600 train rows, 2,000 test rows of shape [20], 4 classes\n" in told
    assert "Network: [(21, 32), " in told
    for word in (
        "Time: under a second for 8 steps",
        "Memory: ",
        "Disk: about ",
        "Sound: nothing was recorded",
    ):
        assert word in told
    assert files() == before


@pytest.mark.parametrize(
    ("module", "name", "value", "words"),
    [
        (
            shutil,
            "disk_usage",
            lambda _: SimpleNamespace(free=1000),
            ["--check", "too little room"],
        ),
        (trial, "MEMORY", "meminfo", ["--check", "only 1 MB of memory", "--train-limit"]),
    ],
)
def test_check_refuses_what_finds_no_room(monkeypatch, tmp_path, module, name, value, words):
    (tmp_path / "meminfo").write_text("MemTotal: 20000 kB\nMemAvailable: 1000 kB\n")
    monkeypatch.setattr(module, name, tmp_path / value if isinstance(value, str) else value)
    monkeypatch.setattr(sys, "argv", [DATA, *SMALL, "--check"])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError) as refusal:
        main_of(DATA)()
    assert all(word in str(refusal.value) for word in words)


def test_teacher_is_recovered(work_tree, run_script):
    finished = run_script(TEACHER, "--epochs", 200, "--tag", "teacher")
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / "teacher"
    assert np.load(folder / "test_loss.npy")[-1] < 1e-6
    units = np.genfromtxt(folder / "teacher_units.csv", delimiter=",", names=True)
    assert units["largest_cosine"].min() > 0.9999
    solves = np.genfromtxt(folder / "cg_solves.csv", delimiter=",", names=True)
    assert (solves["iterations"] <= solves["distinct_eigenvalues"] + 1).all()
    assert (solves["error_frobenius"] < 1e-5).all()
    rows = np.genfromtxt(folder / "cg_convergence.csv", delimiter=",", names=True)
    assert (rows["error_a_norm"] <= rows["chebyshev_bound"] * (1 + 1e-6)).all()
    assert (work_tree / "figures" / "teacher" / "cg_convergence.png").exists()


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (BENCH, ["--lr", "nan"], ["--lr", "nan"]),
        (BENCH, ["--epochs", "0"], ["--epochs 0"]),
        (BENCH, ["--hidden-dim", "0"], ["--hidden-dim 0"]),
        (BENCH, ["--batch-size", "60001"], ["60001", "60000"]),
        (BENCH, ["--dataset", "cifar"], ["cifar", "mnist"]),
        (BENCH, ["--threads", "100000"], ["--threads 100000"]),
        (BENCH, ["--tag", "../../x"], ["--tag", "../../x"]),
        (DATA, ["--lambda-w-layers", "-1"], ["--lambda-w-layers", "-1"]),
        (DATA, ["--lambda-h-layers", "0"], ["--lambda-h-layers", "0"]),
        (DATA, ["--lambda-w-layers", "1", "2", "3"], ["--lambda-w-layers", "3", "2"]),
        (DATA, ["--batch-size", "11", "--train-limit", "10"], ["--batch-size 11", "10"]),
        (DEEP, ["--lambda-w-layers", "1", "2"], ["--lambda-w-layers", "2", "9"]),
        (DEEP, ["--gram-average", "1"], ["--gram-average 1"]),
        (DATA, ["--dataset", "absent.npz"], ["absent.npz"]),
        (DATA, ["--momentum", "1"], ["--momentum 1"]),
        (DEEP, ["--input-rank", "0"], ["--input-rank 0"]),
        (DEEP, ["--resume"], ["--resume", "--tag"]),
        (DEEP, ["--resume", "--tag", "x", "--overwrite"], ["--resume", "--overwrite"]),
        (DEEP, ["--resume", "--tag", "absent"], ["there is no run absent"]),
        (DEEP, ["--chunk-rows", "0"], ["--chunk-rows 0"]),
        (DEEP, ["--rank-timeout", "0"], ["--rank-timeout 0"]),
        (
            DEEP,
            ["--lambda-w-layers", "0", "--solver", "gradient"],
            ["--lambda-w-layers 0", "gradient"],
        ),
        (DEEP, ["--tag", "CON"], ["--tag 'CON'"]),
        (DEEP, ["--tag", "nul.3"], ["--tag 'nul.3'"]),
        (DEEP, ["--tag", "a."], ["--tag 'a.'"]),
        (BENCH, ["--dataset", "MNIST"], ["'MNIST'", "did you mean mnist?"]),
        (TEACHER, ["--rows", "0"], ["--rows 0"]),
        (TEACHER, ["--teacher-widths", "3", "0", "1"], ["--teacher-widths 0"]),
    ],
)
def test_bad_values_are_refused_before_anything_happens(
    script, flags, words, monkeypatch, tmp_path
):
    # an empty folder of data: had they been looked for first, that would be the complaint
    nowhere = [] if script == TEACHER else ["--data-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [script, *nowhere, *flags])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError) as refusal:
        main_of(script)()
    text = str(refusal.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_mistake_ends_a_script_with_one_line_and_status_2(run_script):
    assert_one_clear_line(run_script(DATA, "--momentum", "1"), "--momentum 1")


def test_a_taken_tag_is_refused_before_data_are_looked_for_and_stays(twice, work_tree, run_script):
    script, (tag, _), _ = twice
    folder = work_tree / "ploting_data" / tag

    def bytes_of_files():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = bytes_of_files()
    refused = run_script(script, "--dataset", "absent.npz", "--tag", tag)
    assert_one_clear_line(refused, tag, "--overwrite")
    assert bytes_of_files() == before


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (DATA, ["--step-size", "1e12", "--solver", "exact"], ["epoch 1", "iteration", "layer"]),
        (TEACHER, ["--step-size", "1e60"], ["sweep", "layer", "--step-size"]),
    ],
)
def test_divergence_is_named_and_the_last_good_weights_are_kept(
    script, flags, words, work_tree, run_script
):
    tag = f"diverged_{Path(script).stem}_{len(flags)}"
    small = ["--epochs", "20"] if script == TEACHER else SMALL
    assert_one_clear_line(run_script(script, *small, *flags, "--tag", tag), *words)
    run = record(work_tree, tag)
    assert run["status"] == "diverged"
    assert all(word in run["error"] for word in words)
    with np.load(work_tree / "ploting_data" / tag / "weights.npz") as weights:
        assert all(np.isfinite(weights[name]).all() for name in weights)


@pytest.mark.parametrize(
    "flags", [["--step-size", "1e30"], ["--lambda-h-layers", "1e300"], ["--step-size", "1e18"]]
)
def test_run_whose_steps_are_all_taken_back_has_diverged(work_tree, run_script, flags):
    tag = f"stuck_{flags[1]}"
    finished = run_script(DEEP, *SMALL, "--num-layers", 3, *flags, "--tag", tag)
    assert_one_clear_line(finished, "8 steps in a row had to be taken back", "layer")
    assert record(work_tree, tag)["status"] == "diverged"


@pytest.mark.parametrize("script", [DEEP, DATA, BENCH])
def test_network_too_large_for_the_memory_is_one_line(run_script, script):
    network = () if script == DATA else ("--num-layers", 3)
    flags = ("--dataset", "synthetic", *network, "--hidden-dim", 300_000_000)
    assert_one_clear_line(run_script(script, *flags), "not enough memory: Unable to allocate")


def test_script_of_one_process_says_so_under_torchrun(run_script, monkeypatch):
    for name in GIVEN:
        monkeypatch.setenv(name, "1" if "RANK" in name else "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    second = run_script(DATA, *SMALL, "--tag", "alone")
    assert (second.returncode, second.stderr) == (2, ""), "the first rank alone tells"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    first = run_script(DATA, *SMALL, "--tag", "alone")
    assert_one_clear_line(first, "two_layer_relu_data.py runs in one process: start it with python")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        main_of(script)()
    assert ended.value.code == 0
    assert "python " + script in capsys.readouterr().out


def test_python_without_the_packages_is_told_of_starter(work_tree):
    for script in (BENCH, DEEP):
        command = [sys.executable, "-I", "-S", str(work_tree / script), "--help"]
        path = f"import sys; sys.path.insert(0, {str(work_tree)!r}); "
        code = f"{path}import runpy; runpy.run_path({command[-2]!r}, run_name='__main__')"
        told = subprocess.run([*command[:3], "-c", code], capture_output=True, text=True)
        assert_one_clear_line(told, "NumPy is missing", "./starter python")


@pytest.mark.parametrize("script", [BENCH, DEEP])
def test_ctrl_c_during_imports_is_quiet(work_tree, tmp_path, script):
    slow = "import time\nprint('importing', flush=True)\ntime.sleep(100)\n"
    (tmp_path / "threadpoolctl.py").write_text(slow)  # stands for a library that takes long
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with starting() as start:
        process = start([sys.executable, str(work_tree / script), *SMALL], env=environment)
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert errors == ""
    assert process.returncode == -signal.SIGINT, "which a shell tells as 130"


def test_help_from_any_folder_imports_no_torch(run_script, tmp_path):
    for script in (BENCH, "new_algorithm/plot_runs.py"):
        assert run_script(script, "--help", cwd=tmp_path).returncode == 0
    code = (
        f"import importlib, sys\nfor name in {[module_of(script) for script in SCRIPTS]}: "
        "importlib.import_module(name)\n"
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize("twice", [DATA], indirect=True)
def test_runs_are_drawn_again_and_overlaid(twice, work_tree, run_script, tmp_path):
    _, (first, second), _ = twice
    plot, figures = "new_algorithm/plot_runs.py", work_tree / "figures"
    lost = [figures / first / "loss.png", figures / first / "README.md"]
    for path in lost:  # as of a run that was killed while it drew
        path.unlink()
    assert run_script(plot, first).returncode == 0
    assert all(path.exists() for path in lost)
    finished = run_script(plot, first, second, "--output-name", "overlay", cwd=tmp_path)
    assert finished.stdout == "Wrote figures/overlay/comparison.png\n"
    assert (figures / "overlay" / "comparison.png").exists()
    assert_one_clear_line(run_script(plot, f"{first}_x"), f"{first}_x", first)


@needs_mnist
def test_two_layers_learn_mnist(work_tree, run_script):
    flags = "--data-dir", MNIST_FOLDER, "--train-limit", 20_000, "--epochs", 1, "--tag", "mnist"
    finished = run_script(DATA, *flags)
    assert finished.returncode == 0, finished.stderr
    assert record(work_tree, "mnist")["final_metrics"]["test_accuracy_fraction"] > 0.945


def test_few_wide_rows_take_their_own_number_of_eigenvectors_on_one_thread(work_tree, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, 20_000), np.float32), np.arange(80) % 2
    np.savez(tmp_path / "wide.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    flags = ("--widths", "8", "--epochs", "1", "--batch-size", "20", "--tag", "wide")
    command = [sys.executable, work_tree / DEEP, "--dataset", tmp_path / "wide.npz", *flags]
    # as users start it: nothing but --threads, by default 1, decides on threads
    environment = {name: v for name, v in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(command, cwd=work_tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = record(work_tree, "wide")
    assert made["final_metrics"]["input_rank"] <= 60  # of 20,001
    assert {pool["num_threads"] for pool in made["thread_pools"]} == {1}
