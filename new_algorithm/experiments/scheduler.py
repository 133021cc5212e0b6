"""An experiment from its definition to its report, under one tag.

Every method's settings are chosen, then all are run, seed by seed, in worker processes. What is
done is not done again: a search continues where it stopped, and finished runs are kept.
"""

import multiprocessing
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from new_algorithm.cli.console import notice
from new_algorithm.cli.endings import reason
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import CORES, ExperimentFlags
from new_algorithm.cli.progress import Countdown
from new_algorithm.cli.threads import fix_threads
from new_algorithm.experiments.collect import collect
from new_algorithm.experiments.experiment import Experiment, tag_part
from new_algorithm.experiments.report import write_report
from new_algorithm.experiments.single_run import begin_worker
from new_algorithm.experiments.trainable import Chosen, Planned
from new_algorithm.experiments.tuning import CHOSEN_FOLDER, Tuning, trainable_of
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import REPOSITORY, Layout
from new_algorithm.record.reservation import check_tag, kind_of
from new_algorithm.record.run import Run

LOOK_EVERY = 1.0  # second, for a trial that was saved

Pair = tuple[str, str]  # the names of a task and a variation


def run_experiment(
    experiment: Experiment, config: ExperimentFlags, script: Path, root: Path = REPOSITORY
) -> None:
    """Carry out or continue the experiment, collect its record and write its report."""
    if config.runs is not None and config.runs > len(experiment.seeds):
        raise UserError(
            f"--runs {config.runs}: {experiment.name} defines {len(experiment.seeds)} seeds: "
            "give no more, or let its `seeds` be more"
        )
    experiment = replace(experiment, seeds=experiment.seeds[: config.runs])
    tag, layout = config.tag or experiment.name, Layout(root)
    config, runs = replace(config, tag=tag), Layout(root, group=tag)
    check_tag(tag, overwrite=True, layout=layout)
    for task, one in product(experiment.tasks, experiment.variations):
        trainable_of(task, one, runs, config.threads).check()
    _check_files("task", [task.name for task in experiment.tasks])
    _check_files("variation", [variation.name for variation in experiment.variations])
    if (there := kind_of(layout.record(tag))) not in (None, "experiment"):
        raise UserError(f"--tag {tag} is the tag of a {there}: choose another")
    if config.workers * config.threads > CORES:
        notice(
            f"{config.workers} workers of {config.threads} threads share {CORES} cores and wait "
            f"for each other: times are fair with --workers {max(1, CORES // config.threads)}"
        )
    fix_threads(config.threads)
    data = {"name": ", ".join(dict.fromkeys(task.data_name for task in experiment.tasks))}
    with Run.open(
        script=script, config=config, data=data, root=root, keep=True, kind="experiment"
    ) as run:
        try:
            chosen = carry_out(experiment, config, script, runs, run)
        finally:
            _supersede(run)
        command = (read_record(run.folder) or {})["command"]
        collect(experiment, chosen, runs, run.folder, command)
    for path in write_report(tag, layout):
        print(f"Wrote {layout.relative(path)}", flush=True)


def carry_out(
    experiment: Experiment, config: ExperimentFlags, script: Path, layout: Layout, record: Run
) -> dict[Pair, Chosen]:
    """Choose and run; return what was chosen.

    layout: of the experiment's runs.
    """
    tunings = {
        (task.name, one.name): Tuning(task, one, experiment.trials, layout, config.threads)
        for task, one in product(experiment.tasks, experiment.variations)
    }
    trials = sum(tuning.trials for tuning in tunings.values())
    total = trials + len(tunings) * len(experiment.seeds)
    with _workers(config) as pool, Countdown(total) as jobs:
        chosen = _choose_all(tunings, pool, jobs, record)
        planned = [  # seed by seed, so that other load on the machine hits all methods alike
            (tuning.trained, tuning.trained.plan(seed, chosen[pair]))
            for seed in experiment.seeds
            for pair, tuning in tunings.items()
        ]
        left = [(trained, run) for trained, run in planned if not trained.is_done(run)]
        jobs.advance(len(planned) - len(left))
        runs = {pool.submit(trained.run, run, script): run for trained, run in left}
        for run in _finished(runs, record):
            jobs.advance(1, _outcome(run, runs[run], record))
    return chosen


def _choose_all(
    tunings: dict[Pair, Tuning], pool: ProcessPoolExecutor, jobs: Countdown, record: Run
) -> dict[Pair, Chosen]:
    """Choose the settings of each pair, in the order of the definition."""
    recalled = {pair: tuning.recall() for pair, tuning in tunings.items()}
    found = {pair: chosen for pair, chosen in recalled.items() if chosen is not None}
    jobs.advance(sum(tunings[pair].trials for pair in found))
    searches = {
        pool.submit(tuning.choose): pair for pair, tuning in tunings.items() if pair not in found
    }
    for search in _finished(searches, record):
        pair = searches[search]
        found[pair] = search.result()
        jobs.advance(tunings[pair].trials, f"{', '.join(pair)}: {found[pair].describe()}")
    return {pair: found[pair] for pair in tunings}


def _finished(jobs: Collection["Future[Any]"], record: Run) -> "Iterator[Future[Any]]":
    """Yield the jobs as they finish."""
    left = set(jobs)
    while left:
        done, left = wait(left, LOOK_EVERY, FIRST_COMPLETED)
        _supersede(record)
        yield from done


def _supersede(record: Run) -> None:
    """Give up the record that is overwritten as soon as a trial is saved in its place."""
    if any((record.folder / CHOSEN_FOLDER).glob("*.json")):
        record.supersede()


def _outcome(run: "Future[dict[str, Any]]", planned: Planned, record: Run) -> str:
    """Return a line on a finished run; one that failed is an anomaly, and the others go on."""
    name = f"{planned.task.name}, {planned.variation}, seed {planned.seed}"
    try:
        found = _found(run.result())
        record.supersede()
        return f"{name}: {found}"
    except (UserError, BrokenProcessPool):
        raise
    except Exception as error:
        record.anomaly(f"{planned.tag}: {reason(error)}: the same command runs it again")
        return f"{name}: failed"


def _found(record: dict[str, Any]) -> str:
    """Summarise a run; its scores on the test rows are for the report alone."""
    metrics = record["final_metrics"]
    held_out = [
        f"{name.removesuffix('_fraction')}={metrics[name]:.4f}"
        for name in (
            *("validation_accuracy_fraction", "validation_auc"),
            "validation_squared_error",
        )
        if name in metrics
    ]
    cost = f"{metrics.get('train_cpu_seconds', float('nan')):.2f} CPU s"
    return ", ".join([record["status"], *held_out, cost])


@contextmanager
def _workers(config: ExperimentFlags) -> Iterator[ProcessPoolExecutor]:
    """Processes of their own, so that memory can be measured; they end with the block."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(config.workers, context, begin_worker, (config.threads,))
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


def _check_files(part: str, names: list[str]) -> None:
    """UserError where two names, or none of a name's letters, make the same files."""
    known = {"": "nothing"}
    for name in names:
        if (short := tag_part(name)) in known:
            raise UserError(f"{part} {name!r}: its files would be called {known[short]}: rename it")
        known[short] = f"like {name!r}"
