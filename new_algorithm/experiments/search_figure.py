"""Figure of a search for settings: what mattered, and every trial, from a run's recorded file."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.record.files import read_csv

SEARCH_FILE = "search_trials.csv"  # trial, value, state, cpu_seconds, epochs, settings
PANELS_IN_A_ROW = 3
JITTER = 0.15  # to either side of a category's place
BELOW = 0.08  # of the values' span: how far below the worst the diverged trials are marked


@dataclass(frozen=True)
class _Trials:
    settings: list[dict[str, Any]]
    values: np.ndarray  # (trials,), higher is better, −inf where it diverged

    @property
    def sound(self) -> np.ndarray:
        return np.isfinite(self.values)


def draw_search(figure: Figure, path: Path) -> None:
    """Draw each setting's importance, and for each one all trials' values against it."""
    rows = read_csv(path)
    trials = _Trials(
        [json.loads(row["settings"]) for row in rows], np.array([float(r["value"]) for r in rows])
    )
    names = list(trials.settings[0])
    columns = min(len(names), PANELS_IN_A_ROW)
    lines = -(-len(names) // columns)
    figure.set_size_inches(4.0 + 3.0 * columns, max(3.4, 2.8 * lines))
    widths = (4.0, 3.0 * columns)
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=widths)
    _draw_importances(left.add_subplot(), trials)
    panels = right.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_setting(axes, name, trials)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("value, higher is better")
    handles, labels = panels[0].get_legend_handles_labels()
    right.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _draw_importances(axes: Axes, trials: _Trials) -> None:
    axes.set_title("what mattered")
    shares = importances(trials.settings, trials.values.tolist())
    if not shares:
        reason = f"not to be told from these trials\n(it takes {FEWEST_TRIALS} that differ)"
        axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], height=0.6)
    axes.set_xlabel("importance (share, PED-ANOVA)")
    axes.grid(visible=False, axis="y")


def _draw_setting(axes: Axes, name: str, trials: _Trials) -> None:
    x = _positions(axes, [settings[name] for settings in trials.settings])
    sound = trials.sound
    axes.plot(x[sound], trials.values[sound], "o", color="black", alpha=0.6, label="trial")
    if sound.any():
        best = int(np.argmax(trials.values))
        axes.plot(x[best], trials.values[best], "*", color="red", markersize=13, label="best")
    if not sound.all():
        height = np.full((~sound).sum(), _bottom(trials.values[sound]))
        style: dict[str, Any] = {"color": "purple", "markeredgewidth": 1.5, "markersize": 6}
        axes.plot(x[~sound], height, "x", label="diverged", **style)
    axes.set_xlabel(name)


def _positions(axes: Axes, values: Sequence[Any]) -> np.ndarray:
    """Numbers as they are on a logarithmic axis; categories side by side, their trials spread."""
    if is_scale(values):
        axes.set_xscale("log")
        return np.array(values)
    categories = sorted(set(map(_shown, values)), key=_by_number)
    axes.set_xticks(range(len(categories)), categories)
    axes.set_xlim(-0.5, len(categories) - 0.5)
    places = np.array([categories.index(_shown(value)) for value in values], dtype=float)
    return places + np.random.default_rng(0).uniform(-JITTER, JITTER, len(places))


def _bottom(values: np.ndarray) -> float:
    return float(values.min() - BELOW * (np.ptp(values) or 1.0)) if values.size else 0.0


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text.split()[0]), text
    except (ValueError, IndexError):
        return np.inf, text


FEWEST_TRIALS = 8
FEWEST_GOOD = 5  # trials that count as good, as Optuna's manual advises


def is_scale(values: Sequence[Any]) -> bool:
    """Whether a setting's values lie on a logarithmic axis: positive and written as floats."""
    return all(isinstance(value, float) and value > 0 for value in values)


def importances(settings: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
    """Return how much each setting matters, as fractions that add to 1, the largest first.

    PED-ANOVA (Watanabe et al., IJCAI 2023): how far the density of a setting among the good trials
    is from that among all. settings: of each trial. values: higher is better, −inf where it
    diverged; only their order counts. Empty where the trials are too few or all alike.
    """
    tried = {name: [one[name] for one in settings] for name in (settings[0] if settings else ())}
    tried = {name: column for name, column in tried.items() if len(set(map(repr, column))) > 1}
    if len(values) < FEWEST_TRIALS or len(set(values)) < 2 or not tried:
        return {}
    import optuna  # takes a while

    columns = {name: _coded(column) for name, column in tried.items()}
    worst = min(value for value in values if math.isfinite(value))
    study = optuna.create_study(direction="maximize", storage=_quiet_memory(optuna))
    for number, value in enumerate(values):
        study.add_trial(
            optuna.create_trial(
                value=value if math.isfinite(value) else worst - 1,
                params={name: column[number] for name, (column, _) in columns.items()},
                distributions={name: kind for name, (_, kind) in columns.items()},
            )
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=min(0.5, max(0.1, FEWEST_GOOD / len(values)))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _coded(column: list[Any]) -> tuple[list[Any], Any]:
    """The values as Optuna takes them, and the distribution they are from: as wide as was tried."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if is_scale(column):
        return column, FloatDistribution(min(column), max(column), log=True)
    words = [repr(value) for value in column]
    return words, CategoricalDistribution(tuple(sorted(set(words))))


def _quiet_memory(optuna: Any) -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.InMemoryStorage()
