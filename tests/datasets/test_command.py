"""`python -m datasets`."""

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from datasets import __main__ as command
from datasets import characters, cifar10, pinned_file
from datasets.higgs.csv_rows import read_blocks
from new_algorithm.cli import console
from new_algorithm.cli.errors import UserError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def run(work_tree):
    """run("higgs", ...) -> CompletedProcess of the command in a copy of the code."""

    def finished(*arguments, folder=None):
        environment = {"BACK_PROJECTION_DATASETS": str(folder)} if folder else {}
        return subprocess.run(
            [sys.executable, "-m", "datasets", *map(str, arguments)],
            cwd=work_tree,
            env={"PATH": os.environ["PATH"]} | environment,
            capture_output=True,
            text=True,
        )

    return finished


@pytest.fixture
def main(monkeypatch, own, capsys):
    """main("higgs", ...) -> status, stdout, stderr; nothing is fetched for it."""
    fetched = []

    def fetch_higgs(data_dir):
        fetched.append(data_dir)
        raise UserError("HIGGS could not be fetched: no network. By hand: get it")

    def no_network(*arguments):
        raise UserError("no network")

    monkeypatch.setattr(command, "fetch_higgs", fetch_higgs)
    monkeypatch.setattr(cifar10, "fetch_file", no_network)
    monkeypatch.setattr(pinned_file, "fetch_file", no_network)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["datasets", *map(str, arguments)])
        with pytest.MonkeyPatch.context() as quiet, suppress(SystemExit):
            quiet.setattr(console, "set_up_logging", lambda: None)
            console.run_main(command.main)
            return 0, *capsys.readouterr()
        return 2, *capsys.readouterr()

    called.fetched = fetched
    return called


def test_every_row_of_higgs_is_checked(run, tmp_path, write_higgs, higgs_rows):
    write_higgs(tmp_path / "HIGGS.csv", higgs_rows(6))
    finished = run("higgs", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == (
        "HIGGS cache: reading HIGGS.csv, once for this and all later runs\n"
        "HIGGS: 6 rows are sound, from HIGGS.csv in the folder named by BACK_PROJECTION_DATASETS\n"
    )
    again = run("higgs", folder=tmp_path)
    assert (again.stdout, again.stderr) == (finished.stdout.splitlines(True)[1], "")


def test_a_fault_in_a_file_is_one_line(main, tmp_path, higgs_rows, higgs_csv):
    (tmp_path / "HIGGS.csv").write_bytes(higgs_csv(higgs_rows(6)) + b"1,2\n")
    status, out, err = main("higgs", "--data-dir", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {tmp_path}/HIGGS.csv: row 7, column 3: missing")
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros(3, np.uint8))
    status, out, err = main("mnist", "--data-dir", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {tmp_path}/mnist.npz: y_train is missing")


def test_where_there_is_no_higgs_it_is_fetched_into_datasets(main):
    status, out, err = main("higgs")
    assert (status, out) == (2, "")
    assert err == "error: HIGGS could not be fetched: no network. By hand: get it\n"
    assert main.fetched == [None]


def test_what_is_fetched_is_read(main, own, monkeypatch, write_higgs, higgs_rows):
    rows = higgs_rows(8)
    monkeypatch.setattr(command, "fetch_higgs", lambda _: write_higgs(own / "HIGGS.csv.gz", rows))
    assert main("higgs")[:2] == (0, "HIGGS: 8 rows are sound, from HIGGS.csv.gz in datasets/\n")


def test_higgs_is_fetched_into_the_folder_that_is_named(main, tmp_path):
    (tmp_path / "given").mkdir()
    assert main("higgs", "--data-dir", tmp_path / "given")[0] == 2
    assert main.fetched == [tmp_path / "given"]


def test_a_whole_file_at_hand_is_not_fetched(main, tmp_path, write_higgs, higgs_rows):
    write_higgs(tmp_path / "own" / "HIGGS.csv.gz", higgs_rows(8))
    assert main("higgs")[:2] == (0, "HIGGS: 8 rows are sound, from HIGGS.csv.gz in datasets/\n")
    assert main.fetched == []


def test_in_place_of_a_sample_the_whole_is_fetched(main, own, monkeypatch, write_higgs, higgs_rows):
    write_higgs(own / "HIGGS_sample.csv", higgs_rows(8))
    rows = higgs_rows(12)
    monkeypatch.setattr(command, "fetch_higgs", lambda _: write_higgs(own / "HIGGS.csv.gz", rows))
    assert main("higgs")[:2] == (0, "HIGGS: 12 rows are sound, from HIGGS.csv.gz in datasets/\n")


def test_where_that_fails_the_sample_is_named(main, tmp_path, write_higgs, higgs_rows):
    write_higgs(tmp_path / "own" / "HIGGS_sample.csv", higgs_rows(8))
    status, out, err = main("higgs")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "HIGGS could not be fetched: no network. By hand: get it" in err
    assert "the sample at hand, HIGGS_sample.csv in datasets/, can be used: train with" in err
    assert "`--dataset higgs`" in err


def test_a_sample_will_do_where_that_is_said(main, tmp_path, write_higgs, higgs_rows):
    write_higgs(tmp_path / "own" / "HIGGS_sample.csv", higgs_rows(8))
    expected = "HIGGS: 8 rows are sound, from HIGGS_sample.csv in datasets/\n"
    assert main("higgs", "--sample")[:2] == (0, expected)
    assert main.fetched == []


def test_without_any_sample_the_whole_is_fetched_nevertheless(main):
    assert main("higgs", "--sample")[0] == 2
    assert main.fetched == [None]


def test_a_sample_of_cifar10_will_do_where_that_is_said(main, own, write_cifar10_sample):
    write_cifar10_sample(own)
    expected = "CIFAR-10: 60 + 10 images, from cifar10_jpeg_30k.zip in datasets/\n"
    assert main("cifar10", "--sample")[:2] == (0, expected)
    status, _, err = main("cifar10")
    assert (status, err.count("\n")) == (2, 1)
    assert [path.name for path in own.iterdir()] == ["cifar10_jpeg_30k.zip"]


def test_tiny_shakespeare_is_verified(main, own, monkeypatch):
    (own / "tinyshakespeare.txt").write_bytes(b"Speak, speak.")
    assert "altered" in main("tinyshakespeare")[2]
    sha256 = hashlib.sha256(b"Speak, speak.").hexdigest()
    monkeypatch.setattr(characters, "FILE", replace(characters.FILE, sha256=sha256))
    expected = "tiny Shakespeare: verified, from tinyshakespeare.txt in datasets/\n"
    assert main("tinyshakespeare")[:2] == (0, expected)


def test_generated_rows_are_put_into_the_cache(main):
    status, out, _ = main("higgs-like:500", "--seed", "3")
    assert status == 0
    assert out.startswith("higgs-like:500: 500 rows are sound, generated in the form of HIGGS")
    assert "seed 3" in out


def test_generated_rows_are_written_as_csv(main, tmp_path):
    status, out, _ = main("higgs-like:50", "--write-csv", tmp_path / "rows.csv.gz")
    assert status == 0
    assert "50 rows in " in out
    (features,) = (x for x, _ in read_blocks([tmp_path / "rows.csv.gz"]))
    assert features.shape == (50, 28)
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["higgs-like:abc"], "'abc' is not a number of rows"),
        (["higgs", "--data-dir", "absent"], "absent: no such folder; make it, or name another"),
        (["mnist", "--data-dir", "."], "no MNIST there"),
        (["cifar10"], "CIFAR-10 could not be fetched: the University of Toronto (no network). By"),
        (["tinyshakespeare"], "karpathy/char-rnn (no network). By hand: download https://raw"),
        (["tinyshakespeare", "--data-dir", "."], "no tinyshakespeare.txt there"),
        (["omniglot"], "brendenlake/omniglot (no network). By hand: download https://raw"),
        (["mnist1d"], "greydanus/mnist1d (no network). By hand: download https://raw"),
    ],
)
def test_a_mistake_is_one_line(main, arguments, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = main(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert fault in err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["cifar"], "unknown data set 'cifar': choose mnist, higgs, cifar10, tinyshakespeare, "),
        ([], "NAME"),
        (["mnist", "--sample"], "--sample goes with higgs and cifar10"),
        (["higgs", "--write-csv", "rows.csv"], "--seed and --write-csv go with higgs-like"),
        (["mnist", "--seed", "1"], "--seed and --write-csv go with higgs-like"),
        (["higgs-like", "--data-dir", "."], "--data-dir goes with mnist, higgs, cifar10, tiny"),
        (["higgs-like", "--seed", "-1"], "--seed -1 is not allowed: give a whole number from 0"),
        (["higgs-like", "--seed", "x"], "invalid"),
        (["higgs", "--samp"], "--samp"),
    ],
)
def test_flags_that_do_not_fit_are_refused(main, arguments, fault):
    status, _, err = main(*arguments)
    assert status == 2
    assert fault in err


def test_help_says_what_there_is(main):
    text = main("--help")[1]
    for word in ("mnist, higgs", "higgs-like:ROWS", "--write-csv FILE", "--sample", "--seed 1"):
        assert word in text
