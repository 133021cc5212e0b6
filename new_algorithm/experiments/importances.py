"""What mattered among the settings that a search tried."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

FEWEST_TRIALS = 8
FEWEST_GOOD = 5  # trials that count as good, as Optuna's manual advises


def is_scale(values: Sequence[Any]) -> bool:
    """Whether a setting's values lie on a logarithmic axis: positive and written as floats."""
    return all(isinstance(value, float) and value > 0 for value in values)


def importances(settings: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
    """Return each setting's share in what sets good trials apart, the largest first; they add to 1.

    PED-ANOVA (Watanabe et al., IJCAI 2023): how far the density of a setting among the good trials
    is from that among all. settings: of each trial. values: higher is better, −inf where it
    diverged; only their order counts. Empty where nothing can be told: too few trials or all alike.
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
