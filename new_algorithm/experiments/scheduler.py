"""An experiment from its definition to its report, under one tag.

Every method's settings are chosen, then all are run, seed by seed, in worker processes. What is
done is not done again: a search continues where it stopped, and finished runs are kept.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from datasets import check_name
from new_algorithm.cli.endings import reason
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import ExperimentFlags
from new_algorithm.cli.progress import Countdown
from new_algorithm.cli.threads import fix_threads
from new_algorithm.experiments.collect import collect
from new_algorithm.experiments.definition import Experiment, Task, Variation, slug
from new_algorithm.experiments.report import write_report
from new_algorithm.experiments.single_run import (
    LONGEST_PART,
    SingleRunConfig,
    is_done,
    run_tag,
    single_run,
)
from new_algorithm.experiments.tuning import Chosen, choose, recall, trials_of
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import REPOSITORY, Layout
from new_algorithm.record.reservation import check_tag, kind_of
from new_algorithm.record.run import Run


def run_experiment(
    experiment: Experiment, config: ExperimentFlags, script: Path, root: Path = REPOSITORY
) -> None:
    """Carry out or continue the experiment, collect its record and write its report."""
    experiment = replace(experiment, seeds=experiment.seeds[: config.runs])
    tag = config.tag or experiment.name
    config = replace(config, tag=tag)
    layout = Layout(root)
    check_tag(tag, overwrite=True, layout=layout)
    for task in experiment.tasks:
        check_name(task.dataset)
    _check_slugs("task", [task.name for task in experiment.tasks])
    _check_slugs("variation", [variation.name for variation in experiment.variations])
    if (there := kind_of(layout.record(tag))) not in (None, "experiment"):
        raise UserError(f"--tag {tag} is the tag of a {there}: choose another")
    fix_threads(config.threads)
    data = {"name": ", ".join(dict.fromkeys(task.dataset for task in experiment.tasks))}
    with Run.open(
        script=script, config=config, data=data, root=root, keep=True, kind="experiment"
    ) as run:
        runs = Layout(root, group=run.tag)
        means = Means(runs, script, config.threads, config.workers)
        chosen = carry_out(experiment, means, run)
        command = (read_record(run.folder) or {})["command"]
        collect(experiment, chosen, runs, run.folder, command)
    for path in write_report(tag, layout):
        print(f"Wrote {layout.relative(path)}", flush=True)


@dataclass(frozen=True)
class Means:
    """layout: of the experiment's runs. workers: processes that share the jobs."""

    layout: Layout
    script: Path
    threads: int
    workers: int


def carry_out(experiment: Experiment, means: Means, record: Run) -> dict[tuple[str, str], Chosen]:
    """Choose and run; return what was chosen, by the names of task and variation."""
    pairs = list(product(experiment.tasks, experiment.variations))
    trials = sum(trials_of(experiment, variation) for _, variation in pairs)
    with _workers(means) as pool, Countdown(trials + len(pairs) * len(experiment.seeds)) as jobs:
        chosen = _choose_all(experiment, pairs, means, pool, jobs)
        configs = list(_configs(experiment, means, chosen))
        left = [config for config in configs if not is_done(config, means.layout)]
        jobs.advance(len(configs) - len(left))
        runs = {
            pool.submit(single_run, config, means.layout, means.script): config for config in left
        }
        for run in as_completed(runs):
            jobs.advance(1, _outcome(run, runs[run], record))
            record.supersede()
    return chosen


def _outcome(run: "Future[dict[str, Any]]", config: SingleRunConfig, record: Run) -> str:
    """Return a line on a finished run; one that failed is an anomaly, and the others go on."""
    try:
        return f"{_name(config)}: {_found(run.result())}"
    except (UserError, BrokenProcessPool):
        raise
    except Exception as error:
        record.anomaly(f"{config.tag}: {reason(error)}: the same command runs it again")
        return f"{_name(config)}: failed"


def _name(config: SingleRunConfig) -> str:
    return f"{config.task.name}, {config.variation}, seed {config.seed}"


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
) -> Iterator[SingleRunConfig]:
    """Seed by seed, so that other load on the machine hits all methods alike."""
    for seed, task, variation in product(experiment.seeds, experiment.tasks, experiment.variations):
        found = chosen[task.name, variation.name]
        yield SingleRunConfig(
            tag=run_tag(task.name, variation.name, seed),
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
    """Processes of their own, so that memory can be measured; they end with the block."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(means.workers, context, _prepare, (means.threads,))
    try:
        yield pool
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a worker process was killed, by lack of memory perhaps: the same command goes on "
                "where it stopped, with fewer --workers if need be"
            ) from error
        raise


def _prepare(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    fix_threads(threads)


def _found(record: dict[str, Any]) -> str:
    """Summarise a run; its scores on the test rows are for the report alone."""
    metrics = record["final_metrics"]
    held_out = [
        f"{name.removesuffix('_fraction')}={metrics[name]:.4f}"
        for name in ("validation_accuracy_fraction", "validation_auc")
        if name in metrics
    ]
    cost = f"{metrics.get('train_cpu_seconds', float('nan')):.2f} CPU s"
    return ", ".join([record["status"], *held_out, cost])


def _check_slugs(part: str, names: list[str]) -> None:
    """UserError where two names, or none of a name's letters, make the same files."""
    known: dict[str, str] = {"": ""}
    for name in names:
        short = slug(name)[:LONGEST_PART]
        if short in known:
            other = known[short]
            like = f"like {other!r}" if other else "nothing"
            raise UserError(f"{part} {name!r}: its files would be called {like}: rename it")
        known[short] = name
