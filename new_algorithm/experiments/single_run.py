"""One run of an experiment: a method on a task with a seed, recorded like any other run."""

import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datasets import load_dataset
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import RunFlags
from new_algorithm.experiments.experiment import Task
from new_algorithm.experiments.task_data import TaskData, task_data
from new_algorithm.methods.epochs import chunks_with_ones
from new_algorithm.methods.method import Problem, Settings, Weights
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.layout import Layout
from new_algorithm.record.memory import peak_memory, reset_peak_memory
from new_algorithm.record.record_json import plain, read_record
from new_algorithm.record.run import Run
from new_algorithm.record.silent_run import SilentRun

DONE = ("completed", "diverged")
COMPARED = ("task", "method", "settings", "epochs", "threads")
MEGABYTE = 1e6
WARM_UP_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class MemberConfig(RunFlags):
    """What a run of an experiment is, beside its tag and seed."""

    task: Task
    variation: str
    method: str
    settings: Settings
    epochs: int


def member_tag(task: str, variation: str, seed: int) -> str:
    """Return the tag of a run below that of its experiment."""
    return f"{slug(task)}.{slug(variation)}.{seed}"


def slug(name: str) -> str:
    """Return `name` in the characters that tags may have."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name.replace("×", "x")).strip("_")[:40]


def is_done(config: MemberConfig, layout: Layout) -> bool:
    """Return whether the run is recorded; UserError if it was made with other settings."""
    record = read_record(layout.record(config.tag)) or {}
    if record.get("status") not in DONE:
        return False
    values = asdict(config)
    ours = plain({name: values[name] for name in COMPARED})
    theirs = {name: record.get("config", {}).get(name) for name in ours}
    if ours != theirs:
        differing = ", ".join(name for name in ours if ours[name] != theirs[name])
        raise UserError(
            f"{layout.relative(layout.record(config.tag))}/ was made with another {differing}: "
            "give another --tag, or --overwrite to begin anew"
        )
    return True


@cache
def warm_up(method: str) -> None:
    """Train once in small: what a library loads and compiles at first use is no method's cost.

    Once a process, before anything of it is measured: torch with its optimisers takes up to a CPU
    second and 270 MB.
    """
    data = load_dataset("synthetic", held_out="validation", train_limit=WARM_UP_ROWS)
    with suppress(DivergedError):
        METHODS[method].train(Problem(data, (8,), 1, 0), METHODS[method].defaults, SilentRun())


class _MemberRun(Run):
    """Keeps the weights last saved in memory: a file for each run would be many."""

    weights: Weights | None = None

    def save_weights(self, weights: Weights) -> None:
        self.weights = [layer.copy() for layer in weights]


def run_member(config: MemberConfig, layout: Layout, script: Path) -> dict[str, Any]:
    """Train, evaluate on the test rows once, record, and return the record.

    A run that diverges is scored by its last good weights.
    """
    warm_up(config.method)
    data = task_data(config.task)
    problem = Problem(data.searched, config.task.widths, config.epochs, config.seed, config.threads)
    with _silence():
        run = _MemberRun(
            script=script,
            config=config,
            data=data.searched.provenance(),
            root=layout.root,
            group=layout.group,
        )
        with suppress(DivergedError), run:
            weights = None
            resident = _memory_now()
            try:
                weights = METHODS[config.method].train(problem, config.settings, run)
            except DivergedError:
                weights = run.weights
                raise
            finally:
                if resident is not None:
                    run.result(peak_memory_mb=(peak_memory() - resident) / MEGABYTE)
                if weights is not None:
                    run.result(**_on_test(problem, data, weights))
    return read_record(layout.record(config.tag)) or {}


def _on_test(problem: Problem, data: TaskData, weights: Weights) -> dict[str, float]:
    scores = evaluate(problem.loss(), weights, chunks_with_ones(data.x_test, data.y_test))
    return {f"test_{name}": score for name, score in scores._asdict().items() if score is not None}


def _memory_now() -> int | None:
    gc.collect()
    try:
        return reset_peak_memory()
    except (OSError, AttributeError):  # not Linux: memory is not measured
        return None


@contextmanager
def _silence() -> Iterator[None]:
    """Inside, what a run prints goes to its log alone."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield
