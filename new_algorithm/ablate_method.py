"""Ablate a method: remove or swap one component at a time, and measure what each is worth.

    python new_algorithm/ablate_method.py back_projection
    python new_algorithm/ablate_method.py back_projection --widths 64 64 --epochs 3 --runs 5
    python new_algorithm/ablate_method.py back_projection --cpu-seconds 2 --components "no momentum"

The components stand beside the method, as `components` in its file in new_algorithm/methods/. All
else stays at the method's defaults: nothing is searched anew, so a component that another setting
could make up for looks as important as it is without that. Importance is the method as it is minus
the method without the component, paired by seed, with its 95% interval.

Writes ploting_data/TAG/, the report with table and figure figures/TAG/report.html and its twin
README.md, and _logs/. The same command goes on where it was cut short.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import ExperimentFlags, PositiveFloat, PositiveInt, parse
from new_algorithm.experiments.definitions import check_experiment
from new_algorithm.experiments.experiment import Experiment, Task, Variation
from new_algorithm.experiments.recorded_experiment import run_experiment
from new_algorithm.methods.registry import METHODS

SEEDS = 10


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentFlags):
    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """A method that names components."""
    components: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all)")
    ] = ()
    """Components to take out, one at a time."""
    dataset: str = "mnist"
    """mnist, higgs, higgs-like:ROWS, synthetic, or a FILE.npz."""
    widths: tuple[PositiveInt, ...] = (64,) * 8
    """Units of each hidden layer."""
    metric: Literal["accuracy", "auc", "loss"] = "accuracy"
    epochs: PositiveInt = 4
    """Passes over the training set."""
    cpu_seconds: Annotated[
        PositiveFloat | None, tyro.conf.arg(metavar="S", help_behavior_hint="(default: --epochs)")
    ] = None
    """Training time of a run, in place of --epochs."""


def main() -> None:
    config = parse(Config, __doc__)
    run_experiment(ablation(config), config, Path(__file__))


def ablation(config: Config) -> Experiment:
    """Return the method as it is beside the method with one component changed, for each."""
    if config.method not in METHODS or not METHODS[config.method].components:
        able = ", ".join(key for key, method in METHODS.items() if method.components)
        raise UserError(f"{config.method!r} names no components: give {able}")
    method = METHODS[config.method]
    unknown = [name for name in config.components if name not in method.components]
    if unknown:
        known = ", ".join(map(repr, method.components))
        raise UserError(f"--components {unknown[0]!r}: choose among {known}")
    task = Task(
        name=f"{config.dataset}, {describe_widths(config.widths)}",
        dataset=config.dataset,
        widths=config.widths,
        metrics=(config.metric,),
        cpu_seconds=config.cpu_seconds,
        epochs=None if config.cpu_seconds else config.epochs,
    )
    changed = [
        Variation(name, config.method, settings, searched=False)
        for name, settings in method.components.items()
        if not config.components or name in config.components
    ]
    experiment = Experiment(
        name=f"ablation_{config.method}",
        hypothesis=f"Every component of {method.name} is worth something: without it the "
        f"{config.metric} on unseen rows is worse.",
        baseline=method.name,
        tasks=(task,),
        variations=(Variation(method.name, config.method, searched=False), *changed),
        seeds=tuple(range(SEEDS)),
    )
    check_experiment(experiment)
    return experiment


def describe_widths(widths: tuple[int, ...]) -> str:
    """Return hidden layers in words."""
    if len(set(widths)) == 1:
        return f"{len(widths)} × {widths[0]}"
    return "-".join(map(str, widths))


if __name__ == "__main__":
    run_main(main)
