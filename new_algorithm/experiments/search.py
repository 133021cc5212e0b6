"""A search for good settings that is kept in a file, so that it can be cut short and goes on.

Optuna's tree-structured Parzen estimator: Bergstra et al., NeurIPS 2011, Section 4; Watanabe,
arXiv:2304.11127, for what became of it since.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError

from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Choice, Range, Settings, Space
from new_algorithm.record.files import Row

COMPLETE, DIVERGED = "complete", "diverged"
RANDOM_SHARE = 3  # of the trials one in so many is drawn at random, the first ones
NEAR_AN_EDGE = 0.05  # of a range in its logarithm
DIGITS = 4  # significant ones of a number that is tried: what a table shows is what was run


@dataclass(frozen=True)
class TrialResult:
    """value: on the validation rows, higher is better; None, nan or inf: the training diverged.
    cpu_seconds: of training. epochs: that it took, 0 where nobody knows."""

    value: float | None
    cpu_seconds: float = 0.0
    epochs: int = 0

    @property
    def diverged(self) -> bool:
        return self.value is None or not math.isfinite(self.value)


def search(
    path: Path,
    name: str,
    space: Space,
    trials: int,
    seed: int,
    objective: Callable[[Settings], TrialResult],
) -> Iterator[Row]:
    """Yield trial, value, state, cpu_seconds, epochs, and settings as JSON, trial by trial.

    name: of the search within the SQLite file `path`. Trials that are finished there come first,
    and are not run again; one that was cut short is. What a trial tries depends on the seed and on
    the trials before it alone, so that a search which was cut short ends like any other. A training
    that diverges is a trial like the others, of value −inf: never chosen, and avoided from then on.
    UserError if the file holds a search of that name with another space or seed.
    """
    with _opened(path, name, space, seed) as study:
        for trial in _finished(study)[:trials]:
            yield _row(trial, space)
        for done in range(len(_finished(study)), trials):
            study.sampler = _sampler(seed, done, trials)
            trial = study.ask(_distributions(space))
            result = objective(_settings(trial.params, space))
            trial.set_user_attr("number", done + 1)
            trial.set_user_attr("cpu_seconds", float(result.cpu_seconds))
            trial.set_user_attr("epochs", int(result.epochs))
            value = -math.inf if result.diverged else float(result.value)
            yield _row(study.tell(trial, value), space)


def best(rows: Sequence[Row]) -> Row | None:
    """Return the row of the highest value, the first of equals; None if all trials diverged."""
    sound = [row for row in rows if row["state"] == COMPLETE]
    return max(sound, key=lambda row: row["value"], default=None)


def describe_space(space: Space) -> dict[str, str]:
    """Return in words what may be tried for each setting."""
    return {
        name: f"log {values.low:g} to {values.high:g}"
        if isinstance(values, Range)
        else f"one of {', '.join(map(str, values.values))}"
        for name, values in space.items()
    }


@contextmanager
def _opened(path: Path, name: str, space: Space, seed: int) -> Iterator[optuna.Study]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = URL.create("sqlite", database=str(path)).render_as_string()
    try:
        storage = optuna.storages.RDBStorage(url)
    except DatabaseError as error:
        raise UserError(
            f"{path.name} cannot be opened as the file of a search ({error.orig}): remove it, or "
            "give --overwrite, to begin anew"
        ) from error
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        _check_same(study, path, space, seed)
        for cut_short in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(cut_short.number, state=TrialState.FAIL)
        yield study
    finally:
        storage.engine.dispose()


def _check_same(study: optuna.Study, path: Path, space: Space, seed: int) -> None:
    ours = {"seed": seed, "space": {name: repr(values) for name, values in space.items()}}
    theirs = study.user_attrs or ours
    for what, value in ours.items():
        if theirs.get(what) != value:
            raise UserError(
                f"{path.name} holds the search {study.study_name!r} with another {what}: give "
                "another --tag, or --overwrite to begin anew"
            )
        study.set_user_attr(what, value)


def _sampler(seed: int, done: int, trials: int) -> optuna.samplers.TPESampler:
    """The sampler of the trial after `done` others; its own, so that none has a past to restore.

    multivariate: one density of all settings, because they interact, a rate with a batch size say.
    """
    return optuna.samplers.TPESampler(
        n_startup_trials=-(-trials // RANDOM_SHARE),
        multivariate=True,
        seed=int(np.random.SeedSequence([seed, done]).generate_state(1)[0]),
    )


def _distributions(space: Space) -> dict[str, FloatDistribution | CategoricalDistribution]:
    """Choices go by their place: Optuna stores no tuples."""
    return {
        name: FloatDistribution(values.low, values.high, log=True)
        if isinstance(values, Range)
        else CategoricalDistribution(tuple(range(len(values.values))))
        for name, values in space.items()
    }


def _settings(params: dict[str, Any], space: Space) -> Settings:
    return {name: _value(params[name], values) for name, values in space.items()}


def _value(drawn: float | int, values: Range | Choice) -> Any:
    if isinstance(values, Choice):
        return values.values[drawn]
    return min(max(float(f"{drawn:.{DIGITS}g}"), values.low), values.high)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _row(trial: optuna.trial.FrozenTrial, space: Space) -> Row:
    return {
        "trial": trial.user_attrs["number"],
        "value": trial.value,
        "state": DIVERGED if trial.value == -math.inf else COMPLETE,
        "cpu_seconds": trial.user_attrs["cpu_seconds"],
        "epochs": trial.user_attrs["epochs"],
        "settings": json.dumps(_settings(trial.params, space), ensure_ascii=False),
    }


def at_an_edge(space: Space, settings: Settings) -> list[str]:
    """Return the names of the settings that lie at an edge of `space`.

    That is within NEAR_AN_EDGE of either end of a range, or the least or largest of three numbers
    or more.
    """
    return [name for name, values in space.items() if _is_edge(values, settings[name])]


def _is_edge(values: Range | Choice, value: object) -> bool:
    if isinstance(values, Range):
        place = math.log(value / values.low) / math.log(values.high / values.low)
        return not NEAR_AN_EDGE < place < 1 - NEAR_AN_EDGE
    numbers = [one for one in values.values if isinstance(one, int | float)]
    ordered = len(numbers) == len(values.values) > 2
    return ordered and value in (min(numbers), max(numbers))
