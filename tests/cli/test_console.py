import errno
import io
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from new_algorithm.cli import console
from new_algorithm.cli.console import run_main, tee_stdout
from new_algorithm.cli.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


class Broken(io.StringIO):
    """A stream whose reader goes away after the first line."""

    def write(self, text):
        if "\n" in self.getvalue():
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def test_stdout_goes_to_the_log_too(tmp_path, capsys):
    with tee_stdout(tmp_path / "logs" / "x.log"):
        print("one")
        print("two", flush=True)
    print("after")
    assert (tmp_path / "logs" / "x.log").read_text() == "one\ntwo\n"
    assert capsys.readouterr().out == "one\ntwo\nafter\n"


def test_stdout_is_restored_after_an_exception(tmp_path):
    before = sys.stdout
    with pytest.raises(RuntimeError), tee_stdout(tmp_path / "x.log"):
        raise RuntimeError
    assert sys.stdout is before


def test_each_line_is_in_the_log_at_once(tmp_path):
    with tee_stdout(tmp_path / "x.log"):
        print("one")
        assert (tmp_path / "x.log").read_text() == "one\n"


def test_a_log_inside_a_tee_begins_with_what_was_written_before(tmp_path):
    with tee_stdout():
        print("data loaded")
        with tee_stdout(tmp_path / "inner.log"):
            print("epoch 1")
    assert (tmp_path / "inner.log").read_text() == "data loaded\nepoch 1\n"


@pytest.mark.parametrize("stream", [Broken(), None])
def test_a_closed_stdout_is_given_up_and_the_log_goes_on(tmp_path, monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    with tee_stdout(tmp_path / "x.log"):
        for line in "abc":
            print(line, flush=True)
    assert (tmp_path / "x.log").read_text() == "a\nb\nc\n"
    assert capsys.readouterr().err.count("stdout cannot be written") == (stream is not None)


def test_a_pipe_that_nobody_reads_from_is_given_up_and_the_log_goes_on(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(console, "PATIENCE", 0.05)
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        with tee_stdout(tmp_path / "x.log"):
            for _ in range(100):
                print("λ" * 2000)
    told = capsys.readouterr().err
    assert told.count("nobody has read it for 0.05 s") == 1
    assert (tmp_path / "x.log").read_text(encoding="utf-8") == 100 * ("λ" * 2000 + "\n")
    with open(reading, encoding="utf-8") as pipe:
        assert pipe.read().startswith("λ" * 2000 + "\n")


def test_an_unwritable_log_folder_is_one_notice(tmp_path, capsys):
    (tmp_path / "_logs").touch()
    with tee_stdout(tmp_path / "_logs" / "x.log"):
        print("one")
        print("two")
    captured = capsys.readouterr()
    assert captured.out == "one\ntwo\n"
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("notice: no log of this run: _logs/ cannot be written")


def end(main):
    with pytest.raises(SystemExit) as caught:
        run_main(main)
    return caught.value.code


def test_a_mistake_of_the_user_is_one_line_and_status_2(capsys):
    def main():
        raise UserError("--x 3 is not allowed: give 4")

    assert end(main) == 2
    assert capsys.readouterr().err == "error: --x 3 is not allowed: give 4\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "figures/x.png"), "figures/x.png cannot"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "figures/x"), "(Not a directory)"),
        (MemoryError("Unable to allocate 3 TiB"), "not enough memory: Unable to allocate 3 TiB:"),
        (MemoryError(), "not enough memory: an array did not fit:"),
    ],
)
def test_a_full_disk_or_memory_is_one_line(capsys, error, words):
    def main():
        raise error

    assert end(main) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert words in told
    assert told.count("\n") == 1


def test_codes_in_a_name_are_not_obeyed(capsys):
    def main():
        raise UserError("x.npz: \x1b[31mx\n_train is missing, λ too")

    assert end(main) == 2
    assert capsys.readouterr().err == "error: x.npz: \\x1b[31mx\\n_train is missing, λ too\n"


def test_ctrl_c_ends_with_130():
    def main():
        raise KeyboardInterrupt

    assert end(main) == 130


def test_any_other_exception_keeps_its_traceback():
    def main():
        raise ZeroDivisionError

    before = sys.stdout
    with pytest.raises(ZeroDivisionError):
        run_main(main)
    assert sys.stdout is before


def test_our_loggers_print_info_and_others_stay_quiet(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])

    def main():
        logging.getLogger("datasets.mnist").info("reading %d images", 3)
        logging.getLogger("matplotlib.font_manager").info("score")

    run_main(main)
    assert capsys.readouterr().out == "reading 3 images\n"


def test_a_terminal_that_knows_ascii_alone_gets_replaced_characters(tmp_path, monkeypatch, capsys):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)

    def main():
        with tee_stdout(tmp_path / "x.log"):
            print("λ_w = 3")

    run_main(main)
    assert terminal.buffer.getvalue() == b"?_w = 3\n"
    assert (tmp_path / "x.log").read_text(encoding="utf-8") == "λ_w = 3\n"


TOY = """
import sys
from dataclasses import dataclass
from new_algorithm.cli.console import notice, run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import CommonFlags, parse
from new_algorithm.cli.progress import Countdown, progress

@dataclass(frozen=True, kw_only=True)
class Config(CommonFlags):
    epochs: int = 3

def main():
    parse(Config, "Penalty λ of a toy.")
    for _ in progress(range(3), "epoch 1", 3):
        notice("on the way")
    with Countdown(1) as countdown:
        countdown.advance(1, "λ = 3")
    raise UserError("--x is wrong")

run_main(main)
"""


def run_toy(arguments, **environment):
    """The toy as a shell runs it, its stdout and stderr as bytes."""
    command = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(TOY)} {arguments}"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(command, shell=True, capture_output=True, env=environment)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_and_output_of_a_script_in_a_poor_encoding(encoding):
    told = run_toy("--help", PYTHONIOENCODING=encoding)
    assert told.returncode == 0
    assert b"Penalty ? of a toy." in told.stdout
    finished = run_toy("", PYTHONIOENCODING=encoding)
    assert finished.stdout == b"[1/1, 0 s left] ? = 3\n"
    assert finished.returncode == 2


def test_closed_stderr_and_stdout_stop_nothing():
    finished = run_toy("2>&-")
    assert (finished.returncode, finished.stdout) == (2, "[1/1, 0 s left] λ = 3\n".encode())
    finished = run_toy(">&-")
    assert (finished.returncode, finished.stdout) == (2, b"")
    assert finished.stderr.decode().splitlines() == 3 * ["notice: on the way"] + [
        "error: --x is wrong"
    ]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TORCHELASTIC_RUN_ID": "x"}, "TORCHELASTIC_RUN_ID is set, but not RANK, WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK and WORLD_SIZE are set, but not by torchrun"),
        (
            {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"},
            "process 1 of 4 that mpirun has started",
        ),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "process 0 of 2 that mpiexec has started"),
        (
            {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"},
            "process 2 of 3 that srun has started",
        ),
    ],
)
def test_processes_that_torchrun_did_not_start_are_refused_in_one_line(variables, words):
    told = run_toy("", **variables).stderr.decode()
    assert told.startswith(f"error: {words}")
    assert "torchrun --standalone --nproc-per-node N" in told
    assert told.count("\n") == 1


def test_single_process_of_another_launcher_trains():
    one = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}
    batch = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}  # of a batch script, outside of srun
    for variables in (one, batch):
        assert run_toy("", **variables).stderr.decode().endswith("error: --x is wrong\n")
