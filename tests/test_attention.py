"""The script of transformers: it learns, records bits and shares, and refuses what cannot be."""

import json
import re
import sys

import numpy as np
import pytest

from new_algorithm import attention, plot_runs
from new_algorithm.attention import Config
from new_algorithm.cli.errors import UserError
from new_algorithm.record.layout import Layout
from new_algorithm.record.run import Run

SCRIPT = "new_algorithm/attention.py"
SMALL = ("--task", "copies", "--context", 12, "--width", 32, "--layers", 1, "--scales", 1, 4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"architecture": "plain", "scales": (1, 4)}, "--scales: a plain transformer has one"),
        ({"router": "gumbel"}, "--router: only --architecture hierarchical"),
        ({"task": "mnist1d", "sample": 5}, "--sample is of characters"),
        ({"architecture": "joint-scales", "scales": (4, 16)}, "joint scales begin with 1"),
        ({"task": "mnist1d", "scales": (1, 50)}, "sequences have 40 places"),
        ({"context": 8}, "sequences have 8 places"),
    ],
)
def test_flags_of_another_transformer_are_refused(flags, words):
    with pytest.raises(UserError, match=words):
        Config(**flags).shape  # noqa: B018


def test_flags_are_the_shape():
    shape = Config(architecture="hierarchical", router="gumbel", scales=(2, 4), width=64).shape
    assert (shape.routing, shape.scales, shape.width) == ("gumbel", (2, 4), 64)
    assert Config().shape.scales == (1, 4, 16)


def test_a_batch_larger_than_the_data_is_refused(monkeypatch):
    flags = ("--task", "copies", "--context", "16", "--train-limit", "30", "--batch-size", "31")
    monkeypatch.setattr(sys, "argv", [SCRIPT, *flags])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError, match=r"--batch-size 31 is more than the 30 .* at most 30"):
        attention.main()


def test_data_that_are_not_there_are_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [SCRIPT, "--data-dir", str(tmp_path), "--tag", "no_sequences"])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        attention.main()


def test_copying_is_learnt_and_recorded(work_tree, run_script):
    flags = ("--train-limit", 3000, "--epochs", 2, "--parts", 1, "--tag", "copying")
    finished = run_script(SCRIPT, *SMALL, *flags, "--held-out", "validation")
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / "copying"
    bits = np.load(folder / "validation_bits_per_character.npy")
    assert bits[-1] < 1.6  # of 3 where nothing is looked up; the least is 1.25
    np.testing.assert_allclose(bits, np.load(folder / "validation_loss.npy") / np.log(2))
    np.testing.assert_array_equal(np.load(folder / "steps.npy"), [93, 186])
    metrics = json.loads((folder / "run.json").read_text())["final_metrics"]
    assert metrics["validation_bits_per_character"] == bits[-1]
    assert metrics["parameters"] > 10_000
    table = np.genfromtxt(folder / "bits.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(table["held_out_bits"], bits)
    shares = np.genfromtxt(folder / "scale_shares.csv", delimiter=",", names=True)
    np.testing.assert_allclose(shares["scale_1"] + shares["scale_4"], 1, rtol=1e-5)
    figures = work_tree / "figures" / "copying"
    drawn = {name: (figures / f"{name}.png").read_bytes() for name in ("bits", "scale_shares")}
    plot_runs.draw(["copying"], None, Layout(work_tree))
    assert drawn == {name: (figures / f"{name}.png").read_bytes() for name in drawn}
