"""advise_model.py as a user runs it, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from new_algorithm import advise_model
from new_algorithm.cli.errors import UserError
from tests.real_data import REPOSITORY

SCRIPT = REPOSITORY / "new_algorithm" / "advise_model.py"
FILE = """
from dataclasses import dataclass

import torch
from torch import nn

@dataclass
class Sizes:
    width: int = 8

def make():
    return nn.Sequential(nn.Linear(5, Sizes().width), nn.ReLU(), nn.Linear(8, 3))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = make()

    def forward(self, x):
        return self.body(x).softmax(dim=1)

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()

ready = make()
number = 3

def my_loss(output, y):
    return nn.functional.cross_entropy(output, y) + output.square().mean()
"""
LINE_OF_SOFTMAX = FILE.splitlines().index("        return self.body(x).softmax(dim=1)") + 1


@pytest.fixture
def net(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("x = 1\nx = = 2\n", encoding="utf-8")
    (tmp_path / "failing.py").write_text("x = 1\nx / 0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def advice(net, monkeypatch, capsys):
    """advice("net.py:Net", …) -> what is printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["advise_model.py", *map(str, arguments)])
        advise_model.main()
        return capsys.readouterr().out

    yield run
    for name in [name for name in sys.modules if name.startswith("own_code:")]:
        del sys.modules[name]


SHAPE = ("--input-shape", 16, 5)


def test_as_a_process_it_advises_and_leaves_nothing_but_the_output_file(net):
    command = [sys.executable, SCRIPT, "net.py:Net", *map(str, SHAPE), "--loss", "CrossEntropyLoss"]
    finished = subprocess.run(
        [*command, "--output", "a.md"], cwd=net, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert "net.py:Net: 1 to reconsider" in finished.stdout
    assert f"1. softmax() at net.py:{LINE_OF_SOFTMAX}" in finished.stdout
    assert (net / "a.md").read_text() == f"```\n{finished.stdout}```\n"
    assert {path.name for path in net.iterdir()} - {"__pycache__"} == {
        *("a.md", "net.py", "broken.py", "failing.py")
    }


@pytest.mark.parametrize("name", ["make", "ready"])
def test_functions_and_instances_and_losses_of_ones_own(advice, name):
    printed = advice(
        f"net.py:{name}", *SHAPE, "--loss", "net.py:my_loss", "--task", "classification"
    )
    assert printed.startswith("Nothing to suggest, as far as was seen:")


def test_flags_reach_the_rules(advice, net):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 5)) + 4, rng.integers(3, size=16)
    np.savez(net / "batch.npz", x=x, y=y)
    flags = ("--batch", "batch.npz", "--loss", "cross_entropy", "--recommend")
    printed = advice("net.py:make", *flags, "--optimizer", "SGD", "--weight-decay", 0.1)
    assert "2 to reconsider" in printed
    assert "1. inputs\n" in printed
    assert "weight decay 0.1 on norms and biases" in printed
    assert "To begin with, for classification:" in printed
    printed = advice("net.py:make", *flags, "--optimizer", "SGD")
    assert "1 to reconsider" in printed
    printed = advice("net.py:make", *flags, "--mean", 0.1, "--std", 2)
    assert "after normalisation with mean 0.1 and deviation 2" in printed


def test_model_to_be_evaluated_and_tokens(advice, net):
    (net / "tokens.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))\n"
    )
    assert advice("tokens.py:make", "--input-shape", 4, 3, "--tokens", 7) == "Nothing to suggest.\n"
    assert advice("net.py:ready", *SHAPE, "--evaluate") == "Nothing to suggest.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nix.py:Net", *SHAPE), "there is no file nix.py"),
        (("net.py", *SHAPE), "'net.py' is no FILE.py:NAME"),
        (
            ("net.py:Nett", *SHAPE),
            "net.py has no Nett: it has Sizes, make, Net, Needs, ready, my_loss",
        ),
        (("net.py:number", *SHAPE), "net.py:number is of type int: give an nn.Module"),
        (("net.py:Sizes", *SHAPE), "net.py:Sizes is of type Sizes: give an nn.Module"),
        (("net.py:Needs", *SHAPE), "net.py:Needs cannot be made: TypeError"),
        (("broken.py:Net", *SHAPE), "broken.py:2: it cannot be imported: SyntaxError"),
        (("failing.py:Net", *SHAPE), "failing.py:2: it cannot be imported: ZeroDivisionError"),
        (
            ("net.py:Net", "--input-shape", 16, 4),
            f"net.py:{LINE_OF_SOFTMAX}: the model fails on a batch of shape 16 × 4: RuntimeError",
        ),
        (("net.py:Net",), "give either --input-shape"),
        (("net.py:Net", *SHAPE, "--weight-decay", 0.1), "give --optimizer too"),
        (
            ("net.py:Net", *SHAPE, "--optimizer", "Adammm"),
            "--optimizer Adammm is none of torch.optim",
        ),
        (("net.py:Net", *SHAPE, "--loss", "Linear"), "--loss Linear is no loss of PyTorch"),
        (("net.py:Net", "--batch", "nix.npz"), "--batch nix.npz cannot be read"),
        (("net.py:Net", *SHAPE, "--mean", 0.5), "--mean has 1 values, --std 0"),
        (("net.py:Net", *SHAPE, "--recommend"), "--recommend needs a task"),
        (("net.py:ready", *SHAPE, "--output", "nix/a.md"), "--output nix/a.md cannot be written"),
    ],
)
def test_mistakes_are_one_clear_line(advice, arguments, words):
    with pytest.raises(UserError) as raised:
        advice(*arguments)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
