"""A run with invented numbers, in this process and in another one."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.flags import CommonFlags
from new_algorithm.record import figures
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.run import Run
from tests.processes import starting

REPOSITORY = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.record.clock import TrainingClock
from new_algorithm.cli.console import run_main
from new_algorithm.cli.flags import CommonFlags, parse
from new_algorithm.record.run import Run

@dataclass(frozen=True, kw_only=True)
class Config(CommonFlags):
    epochs: int = 2
    pause: float = 0.0
    before: float = 0.0
    draw: bool = False

def main():
    config = parse(Config, "A toy.")
    if not config.draw:  # importing matplotlib and drawing takes most of the time
        sys.modules["new_algorithm.record.figures"] = SimpleNamespace(draw_run=lambda *_: [])
    root = Path(__file__).parent
    with Run.open(script=Path(__file__), config=config, data={"name": "toy"}, root=root) as run:
        print("waiting", flush=True)
        time.sleep(config.before)
        for epoch in range(1, config.epochs + 1):
            run.record_epoch(epoch, train=Scores(1 / epoch, 0.5), held_out=Scores(2 / epoch, 0.5),
                layer_norms=[1.0], clock=TrainingClock(epoch, epoch))
            time.sleep(config.pause)

run_main(main)
"""


@dataclass(frozen=True, kw_only=True)
class Config(CommonFlags):
    epochs: int = 2


@pytest.fixture
def open_run(tmp_path):
    """open_run(tag="t", run_options={}, **flags) -> a Run that writes into tmp_path."""

    def make(tag="t", run_options=None, **flags):
        script = tmp_path / "new_algorithm" / "toy.py"
        script.parent.mkdir(exist_ok=True)
        settings = {"script": script, "data": {"name": "toy", "num_classes": 2}, "root": tmp_path}
        return Run.open(config=Config(tag=tag, **flags), **settings | (run_options or {}))

    return make


@pytest.fixture
def without_figures(monkeypatch):
    """Runs end without drawing, which takes most of a second."""
    monkeypatch.setattr(figures, "draw_run", lambda *_: [])


@pytest.fixture
def record_epochs():
    """record_epochs(run, epochs, **columns): a smooth descent, but for the columns given."""

    def record(run, epochs=3, **columns):
        for epoch in range(1, epochs + 1):
            row = {
                "train_loss": 1 / epoch,
                "test_loss": 1.1 / epoch,
                "train_accuracy": 1 - 0.1 / epoch,
                "test_accuracy": 1 - 0.2 / epoch,
                "layer_norms": [3.0 + epoch, 4.0 + epoch],
                "cpu_seconds": 0.5 * epoch,
                "wall_seconds": 0.6 * epoch,
            }
            row |= {name: values[epoch - 1] for name, values in columns.items()}
            clock = TrainingClock(row.pop("cpu_seconds"), row.pop("wall_seconds"))
            train, held_out = (
                Scores(row.pop(f"{part}_loss"), row.pop(f"{part}_accuracy"))
                for part in ("train", "test")
            )
            run.record_epoch(epoch, train=train, held_out=held_out, clock=clock, **row)

    return record


@pytest.fixture
def start_script(tmp_path):
    """start_script("--tag", "t") -> a Popen of a training script that writes into tmp_path."""
    script = tmp_path / "toy.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": ""}
    with starting() as start:
        yield lambda *arguments, **options: start(
            [sys.executable, str(script), *arguments], env=environment, **options
        )
