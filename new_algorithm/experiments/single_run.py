"""One run of an experiment: a method on a task with a seed, recorded like any other run."""

import gc
import multiprocessing
import os
import signal
import threading
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.endings import TERMINATED
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import RunFlags
from new_algorithm.cli.signals import ENDING
from new_algorithm.cli.threads import fix_threads
from new_algorithm.experiments.experiment import Task
from new_algorithm.experiments.script import end_scripts
from new_algorithm.experiments.task_data import TaskData, task_data, warm_up
from new_algorithm.experiments.trainable import DONE
from new_algorithm.methods.epochs import predicted_scores, scores_of
from new_algorithm.methods.method import Epoch, Problem, Settings
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.files import plain, read_record
from new_algorithm.record.layout import Layout
from new_algorithm.record.provenance import peak_memory, reset_peak_memory
from new_algorithm.record.run import Run

COMPARED = ("task", "method", "settings", "epochs", "threads")
MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class SingleRunConfig(RunFlags):
    """tag: of the run below that of its experiment."""

    tag: str
    task: Task
    variation: str
    method: str
    settings: Settings
    epochs: int


def is_done(config: SingleRunConfig, layout: Layout) -> bool:
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


def begin_worker(threads: int) -> None:
    """Prepare a process for runs; here, where a worker imports no more than a run needs."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # the parent ends its workers,
    signal.signal(signal.SIGTERM, _end_worker)  # by this one
    fix_threads(threads)
    threading.Thread(target=_outlive_no_parent, daemon=True).start()


def _outlive_no_parent() -> None:
    """End this process once the one that began it is gone, even before this was called, as one
    that is killed leaves it."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()  # waits for the end of a pipe, not of a process whose number may be reused
        _end_worker()


def _end_worker(*_: Any) -> None:
    """End this process, and the script that it waits for."""
    end_scripts()
    os._exit(TERMINATED)


def single_run(config: SingleRunConfig, layout: Layout, script: Path) -> dict[str, Any]:
    """Train, evaluate on the test rows once, record, and return the record.

    A run that diverges is scored by its last good weights. What it prints goes to its log alone.
    """
    data = task_data(config.task)
    searched = data.searched
    warm_up(config.method, searched.num_classes == 2)
    problem = config.task.problem(searched, config.epochs, config.seed, config.threads)
    about = searched.provenance()
    record = Run.open(
        script=script, config=config, data=about, root=layout.root, group=layout.group
    )
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 closed below
    with nowhere, redirect_stdout(nowhere), suppress(DivergedError), record as run:
        last: Epoch | None = None
        diverged: DivergedError | None = None
        resident = _memory_now()
        try:
            for epoch in METHODS[config.method].train(problem, config.settings):
                epoch.record(run)
                last = replace(epoch, weights=[weight.copy() for weight in epoch.weights])
        except DivergedError as error:
            diverged = error
        if resident is not None:
            run.result(peak_memory_mb=(peak_memory() - resident) / MEGABYTE)
        if last is not None:
            scores = _on_test(problem, data, last)._asdict().items()
            run.result(**{f"test_{name}": score for name, score in scores if score is not None})
        if diverged is not None:
            raise diverged
    return read_record(layout.record(config.tag)) or {}


def _on_test(problem: Problem, data: TaskData, last: Epoch) -> Scores:
    if last.predict is not None:
        return predicted_scores(problem.loss, last.predict, data.x_test, data.y_test)
    return scores_of(problem.loss, last.weights, data.x_test, data.y_test)


def _memory_now() -> int | None:
    gc.collect()
    try:
        return reset_peak_memory()
    except (OSError, AttributeError):  # not Linux: memory is not measured
        return None
