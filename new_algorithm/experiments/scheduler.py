"""Carry an experiment out: choose every method's settings, then run them all, seed by seed.

What is done is not done again: a search goes on where it stopped, and finished runs are kept.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from new_algorithm.cli.progress import Countdown
from new_algorithm.experiments.experiment import Experiment, Task, Variation
from new_algorithm.experiments.single_run import MemberConfig, is_done, member_tag, run_member
from new_algorithm.experiments.tuning import Chosen, choose, recall, trials_of
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.layout import Layout


@dataclass(frozen=True)
class Means:
    """Where and how: layout: of the experiment's runs. workers: processes that share the jobs."""

    layout: Layout
    script: Path
    threads: int
    workers: int


def conduct(experiment: Experiment, means: Means) -> dict[tuple[str, str], Chosen]:
    """Choose and run; return what was chosen, by the names of task and variation."""
    pairs = list(product(experiment.tasks, experiment.variations))
    trials = sum(trials_of(experiment, variation) for _, variation in pairs)
    with _workers(means) as pool, Countdown(trials + len(pairs) * len(experiment.seeds)) as jobs:
        chosen = _choose_all(experiment, pairs, means, pool, jobs)
        configs = list(_configs(experiment, means, chosen))
        left = [config for config in configs if not is_done(config, means.layout)]
        jobs.advance(len(configs) - len(left))
        runs = [pool.submit(run_member, config, means.layout, means.script) for config in left]
        for run in as_completed(runs):
            jobs.advance(1, _line(run.result()))
    return chosen


def _choose_all(
    experiment: Experiment,
    pairs: list[tuple[Task, Variation]],
    means: Means,
    pool: ProcessPoolExecutor,
    jobs: Countdown,
) -> dict[tuple[str, str], Chosen]:
    """Choose the settings of each pair, in the order of the definition."""
    found = {}
    searches = {}
    for task, variation in pairs:
        earlier = recall(experiment, task, variation, means.layout)
        if earlier is not None:
            found[task.name, variation.name] = earlier
            jobs.advance(trials_of(experiment, variation))
            continue
        search = pool.submit(choose, experiment, task, variation, means.layout, means.threads)
        searches[search] = task, variation
    for search in as_completed(searches):
        task, variation = searches[search]
        found[task.name, variation.name] = chosen = search.result()
        said = f"{task.name}, {variation.name}: {chosen.describe()}"
        jobs.advance(trials_of(experiment, variation), said)
    return {(t.name, v.name): found[t.name, v.name] for t, v in pairs}


def _configs(
    experiment: Experiment, means: Means, chosen: dict[tuple[str, str], Chosen]
) -> Iterator[MemberConfig]:
    """Seed by seed, so that the machine's moods hit all methods alike."""
    for seed, task, variation in product(experiment.seeds, experiment.tasks, experiment.variations):
        found = chosen[task.name, variation.name]
        yield MemberConfig(
            tag=member_tag(task.name, variation.name, seed),
            overwrite=True,  # of a run that was cut short
            seed=seed,
            threads=means.threads,
            task=task,
            variation=variation.name,
            method=variation.method,
            settings=found.settings,
            epochs=found.epochs,
        )


@contextmanager
def _workers(means: Means) -> Iterator[ProcessPoolExecutor]:
    """Processes, in each of which memory can be measured; gone at the end, whatever happens."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(means.workers, context, _prepare, (means.threads,))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def _prepare(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    fix_threads(threads)


def _line(record: dict[str, Any]) -> str:
    """One finished run in words; what it reached on the test rows is for the report."""
    config, metrics = record["config"], record["final_metrics"]
    held_out = [
        f"{name.removesuffix('_fraction')}={metrics[name]:.4f}"
        for name in ("validation_accuracy_fraction", "validation_auc")
        if name in metrics
    ]
    return (
        f"{config['task']['name']}, {config['variation']}, seed {config['seed']}: "
        f"{record['status']}, {', '.join([*held_out, ''])}"
        f"{metrics.get('train_cpu_seconds', float('nan')):.2f} CPU s"
    )
