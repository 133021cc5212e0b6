"""Fit one model to one public table and judge it on rows that it has not seen.

The seed draws the rows that are held out, a third of each class, and what the model draws itself.
With --tuned the settings come from a random search over --tuning-seconds of CPU time on a part of
the training rows; that time counts as training.

    python -m datasets tables                                          # once: fetch and make them
    python new_algorithm/fit_table.py --table vowel
    python new_algorithm/fit_table.py --table vowel --model mlp
    python new_algorithm/fit_table.py --table ames --model trees --tuned --tuning-seconds 60
    python new_algorithm/compare_methods.py tables                     # all of them, many seeds

The fit is the only epoch; chosen_settings.csv has what a search chose. Accuracy is a share of the
held-out rows; the RMSE is in standard deviations of the training targets. Writes ploting_data/TAG/,
figures/TAG/ and _logs/.
"""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from datasets.public_tables.catalogue import TABLES, Table
from datasets.public_tables.load import load_table
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import PositiveFloat, RunFlags, parse
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.method import Settings
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run
from new_algorithm.table_models.models import MODELS
from new_algorithm.table_models.splits import VALIDATION_SHARE, split, split_of_run
from new_algorithm.table_models.tuning import random_search

if TYPE_CHECKING:
    from new_algorithm.table_models.models import Fitted
    from new_algorithm.table_models.splits import Split

WARM_UP_ROWS = 60


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    table: Literal[tuple(TABLES)]  # type: ignore[valid-type]
    """Which one; datasets/README.md tells of them."""
    model: Literal[tuple(MODELS)] = "back-projection"  # type: ignore[valid-type]
    """What is fitted; linear is logistic or ridge regression, trees are boosted."""
    tuned: bool = False
    """Search for settings before the fit."""
    tuning_seconds: PositiveFloat = 20.0
    """CPU time of such a search; the trial that it ends in is finished."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where the tables' packages lie; else $BACK_PROJECTION_DATASETS, then datasets/."""
    held_out: Literal["test", "validation"] = "test"
    """What to evaluate on. Choose defaults on validation, a fifth of what the test leaves."""


def main() -> None:
    config = parse(Config, __doc__)
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    table = TABLES[config.table]
    rows = load_table(table.name, config.data_dir)
    classes = table.task == "classification"
    parts = split_of_run(*rows, config.held_out, config.seed, stratified=classes)
    about = provenance(table, parts, config.held_out)
    with Run.open(script=Path(__file__), config=config, data=about) as run:
        warm_up(config, table)
        clock, settings = TrainingClock(), {}
        if config.tuned:
            settings = tune(config, table, parts, clock, run)
        fitted = fit(config, table, settings, parts, clock)
        record(table, fitted, parts, clock, run, config.held_out)


def provenance(table: Table, parts: "Split", held_out: str) -> dict[str, Any]:
    """What the record says of the rows."""
    classes = table.task == "classification"
    counts = {"train": len(parts.x_train), held_out: len(parts.x_held_out)}
    return {
        "name": table.name,
        "source": f"table {table.member} of {table.package}",
        "scaling": "none: the model's own",
        "held_out": held_out,
        "sha256": {"rows": table.sha256},
        "counts": counts,
        "shape": [parts.x_train.shape[1]],
        "num_classes": len(np.unique(parts.y_train)) if classes else None,
        "chance_accuracy": float(np.bincount(parts.y_held_out).max() / counts[held_out])
        if classes
        else None,
    }


def warm_up(config: Config, table: Table) -> None:
    """Fit a few invented rows: what a library loads at first use is no model's cost."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(WARM_UP_ROWS, 2)).astype(np.float32)
    y = np.arange(WARM_UP_ROWS) % 2 if table.task == "classification" else x[:, 0]
    _fitted(config, table, {}, x, y)


def tune(config: Config, table: Table, parts: "Split", clock: TrainingClock, run: Run) -> Settings:
    """Search on a part of the training rows, and record what was found."""
    from new_algorithm.table_models.scores import scores_of

    rng = np.random.default_rng([config.seed, 4])
    stratified = table.task == "classification"
    inner = split(parts.x_train, parts.y_train, VALIDATION_SHARE, rng, stratified)

    def error_of(settings: Settings) -> float:
        model = fit(config, table, settings, inner, clock)
        held_out = inner.x_held_out, inner.y_held_out
        return scores_of(model, table.task, *held_out, unit_of(table, inner))[1]

    space = MODELS[config.model].space[table.task]
    found = random_search(space, error_of, config.tuning_seconds, clock, rng)
    chosen = found.settings or {"all": "as by default"}
    rows = [{"setting": name, "value": str(value)} for name, value in chosen.items()]
    run.table("chosen_settings", rows, f"Best of {found.trials} trials:")
    run.result(trials=found.trials)
    return found.settings


def fit(
    config: Config, table: Table, settings: Settings, parts: "Split", clock: TrainingClock
) -> "Fitted":
    with clock:
        return _fitted(config, table, settings, parts.x_train, parts.y_train)


def _fitted(config: Config, table: Table, settings: Settings, x: Any, y: Any) -> "Fitted":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an iteration ends at its limit, as by default
        return MODELS[config.model].build(table.task, settings, config.seed).fit(x, y)


def unit_of(table: Table, parts: "Split") -> float:
    """The unit of errors: the targets' standard deviation in training."""
    return 1.0 if table.task == "classification" else float(parts.y_train.std())


def record(
    table: Table,
    fitted: "Fitted",
    parts: "Split",
    clock: TrainingClock,
    run: Run,
    held_out_name: str,
) -> None:
    """Score both parts; DivergedError where the model's outputs are not finite."""
    from new_algorithm.table_models.scores import scores_of

    unit = unit_of(table, parts)
    train, _ = scores_of(fitted, table.task, parts.x_train, parts.y_train, unit)
    held_out, error = scores_of(fitted, table.task, parts.x_held_out, parts.y_held_out, unit)
    if not np.isfinite(train.loss):
        raise DivergedError("the outputs are not finite")
    run.record_epoch(1, train=train, held_out=held_out, layer_norms=[], clock=clock)
    if table.task == "regression":
        run.result(**{f"{held_out_name}_rmse": error})


if __name__ == "__main__":
    run_main(main)
