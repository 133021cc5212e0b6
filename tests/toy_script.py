"""A script with the flags and the record of a real one, and nothing to train.

Its loss is lr, a tenth more with each seed up to 6; with lr above 5 it diverges. Files named
kill_TAG, break_TAG and wait_TAG beside it are what may happen to a run.
"""

TOY = """
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.record.clock import TrainingClock
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import CommonFlags, PositiveFloat, parse
from new_algorithm.record.run import Run

HERE = Path(__file__).parent
FIGURES = "new_algorithm.record.figures"
sys.modules[FIGURES] = SimpleNamespace(draw_run=lambda *_: [])  # saves time


@dataclass(frozen=True, kw_only=True)
class Config(CommonFlags):
    epochs: int = 1
    lr: PositiveFloat = 0.1


def main():
    config = parse(Config, "A toy.")
    part = config.held_out
    data = {"held_out": part, "num_classes": 10}
    with Run.open(script=Path(__file__), config=config, data=data) as run:
        value = config.lr * (1 + config.seed % 7 / 10)
        scores = Scores(value, 1 / (1 + value))
        clock = TrainingClock(1.5, 2.0)
        if config.lr > 5:
            raise DivergedError("epoch 1: too far")
        if (HERE / f"kill_{config.tag}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (HERE / f"break_{config.tag}").exists():
            raise RuntimeError("a library broke")
        while (HERE / f"wait_{config.tag}").exists():
            time.sleep(0.05)
        now = {"layer_norms": [1.0], "clock": clock}
        now[f"{part}_bits_per_character"] = 2 * value
        run.record_epoch(1, train=scores, held_out=scores, **now)
        run.result(probe_accuracy_100_labels=1 / (1 + value))


run_main(main)
"""

WITHOUT_VALIDATION = TOY.replace("CommonFlags", "RunFlags").replace("config.held_out", '"test"')
