"""Compare training methods: methods x data sets x seeds, searched alike, tested, reported.

    python new_algorithm/compare_methods.py leaderboard            # the table of the README
    python new_algorithm/compare_methods.py leaderboard_quick      # the same in small, minutes
    python new_algorithm/compare_methods.py my_experiment.toml --workers 2
    python new_algorithm/compare_methods.py leaderboard --tasks "HIGGS sample" --tag my_higgs

An experiment is a short .toml file; those that come with the repository lie in
new_algorithm/experiments/, and definitions.py in new_algorithm/evidence/ explains what one says.
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
from typing import Annotated

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.evidence.definitions import load_experiment
from new_algorithm.evidence.experiment import Experiment
from new_algorithm.evidence.recorded_experiment import run_experiment
from new_algorithm.lab.console import run_main
from new_algorithm.lab.errors import UserError
from new_algorithm.lab.flags import ExperimentFlags, parse


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentFlags):
    experiment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EXPERIMENT")]
    """Name of a definition in new_algorithm/experiments/, or the path of a .toml file."""
    tasks: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all)")
    ] = ()
    """Leave out all other tasks."""
    variations: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all)")
    ] = ()
    """Leave out all other methods but the baseline."""


def main() -> None:
    config = parse(Config, __doc__)
    experiment = chosen_parts(load_experiment(config.experiment), config)
    run_experiment(experiment, config, Path(__file__))


def chosen_parts(experiment: Experiment, config: Config) -> Experiment:
    """Return the experiment with the tasks and methods that the flags name."""
    for flag, names in (("tasks", config.tasks), ("variations", config.variations)):
        known = [part.name for part in getattr(experiment, flag)]
        for name in names:
            if name not in known:
                raise UserError(f"--{flag} {name!r}: choose among {', '.join(map(repr, known))}")
    kept = {*config.variations, experiment.baseline} if config.variations else None
    return replace(
        experiment,
        tasks=tuple(t for t in experiment.tasks if not config.tasks or t.name in config.tasks),
        variations=tuple(v for v in experiment.variations if kept is None or v.name in kept),
    )


if __name__ == "__main__":
    run_main(main)
