"""A search for good settings, kept in a file so that one that was cut short can go on.

Optuna's tree-structured Parzen estimator: Bergstra et al., NeurIPS 2011, Section 4; Watanabe,
arXiv:2304.11127, for what became of it since.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Choice, Range, Settings, Space, WholeRange
from new_algorithm.record.files import Row, read_json, save_json
from new_algorithm.record.fitting import fitting

if TYPE_CHECKING:
    import optuna

STATES = COMPLETE, DIVERGED = "complete", "diverged"
ROW = ("trial", "value", "state", "cpu_seconds", "epochs", "settings")
RANDOM_DIVISOR = 3  # the first of so many trials, rounded up, is drawn at random
NEAR_AN_EDGE = 0.05  # of a range in its logarithm
FEWEST_TRIALS = 8  # of which importances can be told
FEWEST_GOOD = 5  # trials that count as good, as Optuna's manual advises
DIGITS = 4  # significant digits of a number that is tried, so that tables show what was run


@dataclass(frozen=True)
class TrialResult:
    """value: on the validation rows, higher is better; None, nan or inf: the training diverged.
    cpu_seconds and epochs: of training, 0 where unknown."""

    value: float | None
    cpu_seconds: float = 0.0
    epochs: int = 0

    @property
    def diverged(self) -> bool:
        return self.value is None or not math.isfinite(self.value)


def search(
    path: Path,
    space: Space,
    trials: int,
    seed: int,
    objective: Callable[[Settings], TrialResult],
    first: Settings | None = None,
) -> Iterator[Row]:
    """Yield trial, value, state, cpu_seconds, epochs, and settings as JSON, trial by trial.

    path: where trials are kept. Finished ones are yielded first and not run again; one that was cut
    short is. first: what is tried before anything is drawn, or the nearest to it in the space. The
    settings of a later trial depend on the seed and the trials before it alone, so that an
    interrupted search ends like any other. A training that diverges is a trial of value −inf: never
    chosen, and avoided from then on. UserError if the file holds a search of another space or seed,
    or cannot be read or written.
    """
    question = {"seed": seed, "space": {name: repr(values) for name, values in space.items()}}
    with fitting(f"{path.name} cannot be read as a search", "move it away, or give another --tag"):
        finished = _finished(path, question, space)
    for one in finished[:trials]:
        yield one["row"]
    for done in range(len(finished), trials):
        if first is not None and done == 0:
            drawn = _places(first, space)
        else:
            drawn = _propose(finished, space, seed, trials)
        settings = {name: _value(drawn[name], values) for name, values in space.items()}
        result = objective(settings)
        row: Row = {
            "trial": done + 1,
            "value": -math.inf if result.diverged else float(result.value or 0.0),
            "state": DIVERGED if result.diverged else COMPLETE,
            "cpu_seconds": float(result.cpu_seconds),
            "epochs": int(result.epochs),
            "settings": json.dumps(settings, ensure_ascii=False),
        }
        finished.append({"row": row, "drawn": drawn})
        _save(path, question | {"trials": finished})
        yield row


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


def _places(settings: Settings, space: Space) -> dict[str, Any]:
    """Return the settings of the space nearest to these, as they are drawn: choices by place."""
    return {name: _place(settings[name], values) for name, values in space.items()}


def _place(value: Any, values: Range | Choice) -> Any:
    if isinstance(values, Range):
        return min(max(value, values.low), values.high)
    if value in values.values:
        return values.values.index(value)
    distances = [abs(value - other) for other in values.values]  # numbers: words are among theirs
    return distances.index(min(distances))


def _propose(
    finished: Sequence[dict[str, Any]], space: Space, seed: int, trials: int
) -> dict[str, Any]:
    """Draw the trial after those that are finished, choices by their place.

    Each trial has a sampler of its own, so that there is no sampler state to restore. multivariate:
    one density of all settings, because they interact, as a rate and a batch size do.
    """
    import optuna

    sampler = optuna.samplers.TPESampler(
        n_startup_trials=-(-trials // RANDOM_DIVISOR),
        multivariate=True,
        seed=int(np.random.SeedSequence([seed, len(finished)]).generate_state(1)[0]),
    )
    values, drawn = [one["row"]["value"] for one in finished], [one["drawn"] for one in finished]
    study, distributions = _study(space, values, drawn, sampler)
    return study.ask(distributions).params


def _study(
    space: Space,
    values: Sequence[float],
    drawn: Sequence[dict[str, Any]],
    sampler: "optuna.samplers.BaseSampler | None" = None,
) -> "tuple[optuna.Study, dict[str, optuna.distributions.BaseDistribution]]":
    """Return the trials so far as Optuna has them, choices by their place, and what is drawn."""
    import optuna  # takes a while
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(values.low, values.high, log=True)
        if isinstance(values, Range)
        else CategoricalDistribution(tuple(range(len(values.values))))
        for name, values in space.items()
    }
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for value, params in zip(values, drawn, strict=True):
        study.add_trial(
            optuna.create_trial(value=value, params=params, distributions=distributions)
        )
    return study, distributions


def is_scale(values: Sequence[Any]) -> bool:
    """Whether a setting's values lie on a logarithmic axis: positive and written as floats."""
    return all(isinstance(value, float) and value > 0 for value in values)


def importances(settings: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
    """Return how much each setting matters, as fractions that add to 1, the largest first.

    PED-ANOVA (Watanabe et al., IJCAI 2023): how far the density of a setting among the good trials
    is from that among all. settings: of each trial. values: higher is better, −inf where it
    diverged; only their order counts. Empty where the trials are too few or all alike.
    """
    if len(values) < FEWEST_TRIALS or len(set(values)) < 2:
        return {}
    space: Space = {}  # as wide as was tried
    drawn: list[dict[str, Any]] = [{} for _ in settings]
    for name in settings[0]:
        column = [one[name] for one in settings]
        words = [*map(repr, column)]
        kinds = sorted(set(words))
        if len(kinds) == 1:
            continue
        scale = is_scale(column)
        space[name] = Range(min(column), max(column)) if scale else Choice(tuple(kinds))
        for one, value, word in zip(drawn, column, words, strict=True):
            one[name] = value if scale else kinds.index(word)
    if not space:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    worst = min(value for value in values if math.isfinite(value))
    finite = [value if math.isfinite(value) else worst - 1 for value in values]
    good = min(0.5, max(0.1, FEWEST_GOOD / len(values)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is an experiment of Optuna's
        evaluator = PedAnovaImportanceEvaluator(target_quantile=good)
        shares = get_param_importances(_study(space, finite, drawn)[0], evaluator=evaluator)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _value(drawn: float | int, values: Range | Choice) -> Any:
    if isinstance(values, Choice):
        return values.values[int(drawn)]
    if isinstance(values, WholeRange):
        drawn = round(drawn)
    return min(max(float(f"{drawn:.{DIGITS}g}"), values.low), values.high)


def _finished(path: Path, question: dict[str, Any], space: Space) -> list[dict[str, Any]]:
    """The row of each finished trial, and what was drawn for it, in which Optuna sees no fault."""
    if not path.exists():
        return []
    kept = read_json(path)
    if kept is None or not {*question, "trials"} <= kept.keys():
        raise UserError(
            f"{path.name} cannot be read as a search: move it away, or give another --tag"
        )
    for what, value in question.items():
        if kept[what] != value:
            raise UserError(
                f"{path.name} holds a search with another {what}: give another --tag, or "
                "--overwrite to begin anew"
            )
    if not isinstance(kept["trials"], list):
        raise TypeError(f"its trials are a {type(kept['trials']).__name__}")
    for number, one in enumerate(kept["trials"], start=1):
        row = one["row"] = {name: one["row"][name] for name in ROW}
        row["value"] = float(row["value"])  # JSON has −inf as a string alone
        names = json.loads(row["settings"]).keys()
        if row["trial"] != number or row["state"] not in STATES or names != space.keys():
            raise ValueError(f"trial {number} holds {row}")
    rows = [one["row"] for one in kept["trials"]]
    _study(space, [row["value"] for row in rows], [one["drawn"] for one in kept["trials"]])
    return kept["trials"]


def _save(path: Path, kept: dict[str, Any]) -> None:
    try:
        save_json(path, kept)
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be written ({error.strerror or error}): free some space or mend "
            "its permissions, and give the same command again; finished trials are kept"
        ) from error


def at_an_edge(space: Space, settings: Settings) -> list[str]:
    """Return the names of the settings that lie at an edge of `space`.

    That is within NEAR_AN_EDGE of either end of a range, or the least or largest of three numbers
    or more.
    """
    return [name for name, values in space.items() if _is_edge(values, settings[name])]


def _is_edge(values: Range | Choice, value: Any) -> bool:
    if isinstance(values, Range):
        place = math.log(value / values.low) / math.log(values.high / values.low)
        return not NEAR_AN_EDGE < place < 1 - NEAR_AN_EDGE
    try:  # flags of a script are texts
        numbers = [*map(float, values.values)]
    except (TypeError, ValueError):
        return False
    return len(numbers) > 2 and float(value) in (min(numbers), max(numbers))
