"""Faults that only a process of its own can show: signals, pipes, two runs at once."""

import json
import signal
import subprocess
import sys

import pytest


def read(tmp_path, tag="t"):
    return json.loads((tmp_path / "ploting_data" / tag / "run.json").read_text())


def wait_for(text, process):
    for line in process.stdout:
        if line.startswith(text):
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state(tmp_path, start_script, number, status):
    process = start_script("--tag", "t", "--epochs", "1000", "--pause", "0.02", "--draw")
    wait_for("Epoch 1:", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert errors == ""
    record = read(tmp_path)
    assert record["status"] == "interrupted"
    assert 1 <= record["final_metrics"]["epoch"] < 1000
    assert (tmp_path / "figures" / "t" / "loss.png").exists()


def test_the_second_process_with_one_tag_is_refused(tmp_path, start_script):
    first = start_script("--tag", "t", "--epochs", "1000", "--pause", "0.02")
    wait_for("Epoch 1:", first)
    for overwrite in ([], ["--overwrite"]):
        second = start_script("--tag", "t", *overwrite)
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 2
        assert errors.startswith("error: --tag t is in use by a running process")
        assert errors.count("\n") == 1
    first.kill()
    first.wait()
    assert read(tmp_path)["status"] == "running"
    third = start_script("--tag", "t", "--overwrite")
    third.communicate(timeout=120)
    assert third.returncode == 0
    assert read(tmp_path)["status"] == "completed"


def test_what_is_overwritten_survives_a_kill_and_a_stop_before_the_first_results(
    tmp_path, start_script
):
    places = [tmp_path / "ploting_data" / "t", tmp_path / "figures"]

    def files():
        paths = [path for place in places for path in place.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in paths}

    assert start_script("--tag", "t").wait(timeout=120) == 0
    before = files()
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start_script("--tag", "t", "--overwrite", "--before", "100", "--epochs", "3")
        wait_for("waiting", process)
        assert read(tmp_path)["status"] == "running"
        process.send_signal(number)
        told, _ = process.communicate(timeout=120)
        if number == signal.SIGTERM:
            assert told.endswith("(stopped by SIGTERM); the earlier record is back in its place\n")
            assert files() == before
    process = start_script("--tag", "t", "--overwrite", "--epochs", "3")
    process.communicate(timeout=120)
    assert read(tmp_path)["final_metrics"]["epoch"] == 3
    assert not any((tmp_path / "ploting_data" / ".replaced").iterdir())


def test_a_reader_that_leaves_does_not_stop_the_run(tmp_path, start_script):
    process = start_script("--tag", "t", "--epochs", "5", "--pause", "0.05")
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert errors.count("notice: stdout cannot be written any more") == 1
    assert read(tmp_path)["status"] == "completed"
    assert "Epoch 5" in (tmp_path / read(tmp_path)["log"]).read_text()


def test_a_full_device_as_stdout_does_not_stop_the_run(tmp_path, start_script):
    with open("/dev/full", "w") as full:
        process = start_script("--tag", "t", stdout=full)
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert read(tmp_path)["status"] == "completed"


def test_recording_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys, new_algorithm.record.run, new_algorithm.cli.flags; "
        "print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "[]\n"
