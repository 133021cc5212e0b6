"""The flag to try against a fault: one that the run's script has, with a value made of the run's.

Each function returns None where the script has no such flag. Factors: a half or twice is what a
search by hand tries first; of penalties, whose scale is logarithmic, a power of ten.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from new_algorithm.record.advice.finding import Record


def in_force(record: Record, name: str) -> Any:
    """The value of a flag, or what the optimizer took where it was not given; None without it."""
    value = record.get("config", {}).get(name)
    return record.get("settings", {}).get(name) if value is None else value


def of_experiment(record: Record) -> bool:
    """Whether the run is one of an experiment, whose flags are others."""
    return "variation" in record.get("config", {})


def has(record: Record, name: str) -> bool:
    return name in record.get("config", {}) and not of_experiment(record)


def has_finite_lambda_h(record: Record) -> bool:
    """Whether a layer above the first takes from Δ what its own change makes up for."""
    if in_force(record, "hidden_penalty") not in (None, "passed-down"):
        return False
    penalties = in_force(record, "lambda_h_layers")
    return bool(penalties) and any(
        not math.isinf(float(value)) for value in penalties[1:] or penalties
    )


def passes_less_than_back_propagation(record: Record) -> bool:
    return has_finite_lambda_h(record) or in_force(record, "pass_down") == "left"


def first(*flags: str | None) -> str | None:
    """The first of several remedies that there is."""
    return next((flag for flag in flags if flag is not None), None)


def steps_times(record: Record, factor: float) -> str | None:
    """A step, or a learning rate, `factor` times as long."""
    for name in ("step_size", "lr", "step_bounds"):
        if has(record, name) and in_force(record, name) is not None:
            return _times(record, name, factor)
    return None


def penalties_times(record: Record, factor: float, least: float = 0.0) -> str | None:
    """λ_w `factor` times as large, and at least `least`."""
    return first(*(_times(record, name, factor, least) for name in ("lambda_w_layers", "lambda_w")))


def penalty_of_steps(record: Record, factor: float) -> str | None:
    """Stronger damping, or shorter steps where there is none."""
    return first(penalties_times(record, factor), steps_times(record, 1 / factor))


def passes_times(record: Record, factor: float) -> str | None:
    return first(*(_times(record, name, factor) for name in ("epochs", "iterations")))


def width_times(record: Record, factor: float) -> str | None:
    if in_force(record, "widths"):
        return _times(record, "widths", factor)
    return first(*(_times(record, name, factor) for name in ("hidden_dim", "width")))


def whole_residual(record: Record) -> str | None:
    """Δ passed down whole and by λ_h = ∞, where it is not."""
    if has(record, "lambda_h_layers") and has_finite_lambda_h(record):
        return "--lambda-h-layers inf"
    fits = has(record, "pass_down") and in_force(record, "pass_down") == "left"
    return "--pass-down whole" if fits else None


def fewer_layers(record: Record) -> str | None:
    if widths := in_force(record, "widths"):
        return _flag("widths", widths[: (len(widths) + 1) // 2]) if len(widths) > 1 else None
    layers = in_force(record, "num_layers")
    fits = has(record, "num_layers") and (layers or 0) > 3  # scripts of two layers have no others
    return _flag("num_layers", layers // 2 + 1) if fits else None


def cap_times(record: Record, factor: float) -> str | None:
    return _times(record, "cg_iterations", factor)


def other_seed(record: Record) -> str | None:
    return _flag("seed", in_force(record, "seed") + 1) if has(record, "seed") else None


def _times(record: Record, name: str, factor: float, least: float = 0.0) -> str | None:
    value = in_force(record, name) if has(record, name) else None
    if value is None or value == []:
        return None

    def scaled(one: float) -> float:
        more = max(least, one * factor)
        return max(1, round(more)) if isinstance(one, int) else more

    more = _mapped(scaled, value)
    return None if more == value else _flag(name, more)


def _mapped(change: Callable[[float], float], value: Any) -> Any:
    return [change(one) for one in value] if isinstance(value, Sequence) else change(value)


def _flag(name: str, value: Any) -> str:
    """As it is typed; equal values of all layers once."""
    values = value if isinstance(value, list) else [value]
    if len(set(values)) == 1 and name.endswith("_layers"):
        values = values[:1]
    shown = " ".join(f"{one:.3g}" if isinstance(one, float) else str(one) for one in values)
    return f"--{name.replace('_', '-')} {shown}"
