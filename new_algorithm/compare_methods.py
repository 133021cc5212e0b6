"""Compare training methods: methods x data sets x seeds, searched alike, tested, reported.

    python new_algorithm/compare_methods.py leaderboard            # the table of the README
    python new_algorithm/compare_methods.py leaderboard_quick      # the same in small, minutes
    python new_algorithm/compare_methods.py my_experiment.toml --workers 2
    python new_algorithm/compare_methods.py leaderboard --tasks "HIGGS sample" --tag my_higgs

An experiment is a short .toml file; those that come with the repository lie in
new_algorithm/experiments/, and definitions.py in new_algorithm/experiments/ explains what one says.
For every task each method's settings are searched on the validation rows, with as many trials for
each; a run may take the same CPU time whichever method it is. Then all are run for every seed, the
test rows being looked at once, at the end of each run. The same command goes on where it was cut
short; what is finished is kept.

Writes ploting_data/TAG/ with a folder for each run, the report figures/TAG/report.html with its
twin README.md, and _logs/. write_report.py TAG writes the report again from the record.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import AS_DEFINED, ExperimentFlags, NonNegativeInt, parse
from new_algorithm.experiments.definitions import load_experiment
from new_algorithm.experiments.experiment import Experiment, Task, Variation
from new_algorithm.experiments.recorded_experiment import run_experiment

Part = TypeVar("Part", Task, Variation)


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentFlags):
    experiment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EXPERIMENT")]
    """Name of a definition in new_algorithm/experiments/, or the path of a .toml file."""
    trials: Annotated[NonNegativeInt | None, tyro.conf.arg(metavar="N", **AS_DEFINED)] = None
    """Settings that each search may try; 0 takes the defaults."""
    tasks: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all)")
    ] = ()
    """Leave out all other tasks; a part of the name is enough."""
    variations: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all)")
    ] = ()
    """Leave out all other methods but the baseline."""


def main() -> None:
    config = parse(Config, __doc__)
    experiment = chosen_parts(load_experiment(config.experiment), config)
    run_experiment(experiment, config, Path(__file__))


def chosen_parts(experiment: Experiment, config: Config) -> Experiment:
    """Return the experiment with the tasks and methods that the flags name, and the baseline."""
    tasks = named(experiment.tasks, config.tasks, "--tasks")
    variations = named(experiment.variations, config.variations, "--variations")
    kept = {experiment.baseline, *(variation.name for variation in variations)}
    return replace(
        experiment,
        trials=experiment.trials if config.trials is None else config.trials,
        tasks=tasks,
        variations=tuple(one for one in experiment.variations if one.name in kept),
    )


def named(parts: tuple[Part, ...], texts: tuple[str, ...], flag: str) -> tuple[Part, ...]:
    """Return the parts of that name or, if there is none, with that text in their names."""
    if not texts:
        return parts
    kept = set()
    for text in texts:
        exact = {part.name for part in parts if part.name == text}
        found = exact or {part.name for part in parts if text.casefold() in part.name.casefold()}
        if not found:
            known = ", ".join(repr(part.name) for part in parts)
            raise UserError(f"{flag} {text!r}: choose among {known}")
        kept |= found
    return tuple(part for part in parts if part.name in kept)


if __name__ == "__main__":
    run_main(main)
