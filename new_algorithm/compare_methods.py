"""Compare training methods: methods x data sets x seeds, searched alike, tested, reported.

    python new_algorithm/compare_methods.py leaderboard            # the table of the README
    python new_algorithm/compare_methods.py leaderboard_quick      # the same in small, minutes
    python new_algorithm/compare_methods.py my_experiment.toml --workers 2
    python new_algorithm/compare_methods.py leaderboard --tasks "HIGGS sample" --tag my_higgs
    python new_algorithm/compare_methods.py ablation_back_projection   # what each part is worth
    python new_algorithm/compare_methods.py ablation_foof --dataset synthetic --widths 16 --runs 3
    python new_algorithm/compare_methods.py isaac_mnist            # a paper's figure and ours
    python new_algorithm/compare_methods.py meta_learning_omniglot -- --device cuda

An experiment is a short .toml file; those that come with the repository lie in
new_algorithm/experiments/definitions/ (benchmarks: leaderboard_long, depth, step, two_layers,
batches, train_loss, eigenbasis, stability, higgs_auc, tables, tables_tuned; reproductions of
papers: papers/; with scripts of their own: gallery/), and definition.py explains their entries. For
every task each method's settings are searched on the validation rows, with the same number of
trials; every run has the same CPU time. Then all methods are run for every seed, and each run is
evaluated on the test rows once, at its end. The same command continues an experiment that was cut
short.

A task may also be a script of this repository, such as meta_learning.py, and the variations flags
for it. Runs are as long as their flags say, and are compared by any final metric of their records.
Flags after -- are added to those of all variations.

An ablation removes or swaps one component of a method at a time, as listed in the method's file.
All other settings stay at their defaults, although another value might compensate for the change.

Writes ploting_data/TAG/ with a folder for each run, the report figures/TAG/report.html with its
twin README.md, and _logs/. write_report.py TAG writes the report again from the record.
"""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    ExperimentFlags,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    default_as,
    parse,
)
from new_algorithm.experiments.definition import load_experiment
from new_algorithm.experiments.definition_checks import check_experiment
from new_algorithm.experiments.experiment import (
    AnyTask,
    AnyVariation,
    Experiment,
    Metric,
    ScriptTask,
    ScriptVariation,
)
from new_algorithm.experiments.flag_space import flag_of
from new_algorithm.experiments.scheduler import run_experiment

Part = TypeVar("Part", bound=AnyTask | AnyVariation)


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentFlags):
    experiment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EXPERIMENT")]
    """Name of a definition in experiments/definitions/, or the path of a .toml file."""
    trials: Annotated[NonNegativeInt | None, default_as("as defined", metavar="N")] = None
    """Settings that each search may try; 0 takes the defaults."""
    tasks: Annotated[tuple[str, ...], default_as("all", metavar="NAME")] = ()
    """Leave out all other tasks; a part of the name is enough."""
    variations: Annotated[tuple[str, ...], default_as("all", metavar="NAME")] = ()
    """Leave out all other methods, or components, but the baseline."""
    dataset: Annotated[str | None, default_as("as defined", metavar="NAME")] = None
    """In place of the tasks' own, as are the next four."""
    widths: Annotated[tuple[PositiveInt, ...], default_as("as defined", metavar="N")] = ()
    """Units of each hidden layer."""
    metric: Annotated[Metric | None, default_as("as defined")] = None
    """What decides, on the held-out rows, or the train loss."""
    epochs: Annotated[PositiveInt | None, default_as("as defined", metavar="N")] = None
    """Passes over the training rows, in place of a CPU time."""
    cpu_seconds: Annotated[PositiveFloat | None, default_as("as defined", metavar="S")] = None
    """Training time of a run, in place of epochs."""
    added: tyro.conf.Suppress[tuple[str, ...]] = ()


def main() -> None:
    args = sys.argv[1:]
    at = args.index("--") if "--" in args else len(args)
    own, added = args[:at], args[at + 1 :]  # after `--` are the scripts'
    config = replace(parse(Config, __doc__, own), added=tuple(added))
    experiment = apply_flags(load_experiment(config.experiment), config)
    run_experiment(experiment, config, Path(__file__))


def apply_flags(experiment: Experiment, config: Config) -> Experiment:
    """Return the experiment with the tasks and methods that the flags name, and the baseline."""
    tasks = select(experiment.tasks, config.tasks, "--tasks")
    variations = select(experiment.variations, config.variations, "--variations")
    kept = {experiment.baseline, *(variation.name for variation in variations)}
    experiment = replace(
        experiment,
        trials=experiment.trials if config.trials is None else config.trials,
        tasks=tuple(change_task(task, config) for task in tasks),
        variations=tuple(
            add_flags(one, config.added) for one in experiment.variations if one.name in kept
        ),
    )
    check_experiment(experiment)
    return experiment


def add_flags(variation: AnyVariation, added: tuple[str, ...]) -> AnyVariation:
    """Return the variation with more flags for its script; UserError for a method."""
    if not added:
        return variation
    if not isinstance(variation, ScriptVariation):
        raise UserError(f"{shlex.join(added)}: only scripts take flags after --")
    return replace(variation, flags=(*variation.flags, *added))


def change_task(task: AnyTask, config: Config) -> AnyTask:
    """Return the task with what the flags give in place of its own, and a name that says so."""
    if isinstance(task, ScriptTask):
        for name in ("dataset", "widths", "epochs", "cpu_seconds", "metric"):
            if getattr(config, name):
                raise UserError(
                    f"{flag_of(name)}: {task.name} is a script's: give its flags after --"
                )
        return task
    if config.epochs and config.cpu_seconds:
        raise UserError("--epochs and --cpu-seconds: give one of them")
    task = replace(
        task,
        dataset=config.dataset or task.dataset,
        widths=config.widths or task.widths,
        metrics=(config.metric,) if config.metric else task.metrics,
    )
    if config.epochs or config.cpu_seconds:
        task = replace(task, epochs=config.epochs, cpu_seconds=config.cpu_seconds)
    if config.epochs:  # passes, for all methods alike
        task = replace(task, parts=1)
    if config.dataset or config.widths:
        alike = len(set(task.widths)) == 1
        widths = (
            f"{len(task.widths)} × {task.widths[0]}" if alike else "-".join(map(str, task.widths))
        )
        task = replace(task, name=f"{task.dataset}, {widths}")
    return task


def select(parts: tuple[Part, ...], texts: tuple[str, ...], flag: str) -> tuple[Part, ...]:
    """Return the parts of that name or, if there is none, with that text in their names."""
    if not texts:
        return parts
    names: list[str] = [part.name for part in parts]
    kept: set[str] = set()
    for text in texts:
        found = {text} & {*names} or {name for name in names if text.casefold() in name.casefold()}
        if not found:
            raise UserError(f"{flag} {text!r}: choose among {', '.join(map(repr, names))}")
        kept |= found
    return tuple(part for part in parts if part.name in kept)


if __name__ == "__main__":
    run_main(main)
