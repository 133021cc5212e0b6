"""What to try after a run, read off its numbers."""

from typing import Any

import numpy as np

from new_algorithm.record.anomalies import (
    first_non_finite,
    largest_rise,
    overfitting,
)
from new_algorithm.record.history import Series, held_out_name

STILL_FALLING_SHARE = 0.05  # of the train loss, in the last epoch


def next_steps(series: Series, record: dict[str, Any]) -> list[str]:
    """Sentences, the most urgent first; a pure function of the arrays and run.json."""
    return [
        *_about_the_end(record),
        *_about_stability(series, record),
        *_about_fit(series),
        *_about_the_evidence(series, record),
    ]


def _about_the_end(record: dict[str, Any]) -> list[str]:
    if record.get("status") == "failed":
        return ["Read the error in the log, mend it, and run again with `--overwrite`."]
    if record.get("status") == "interrupted":
        return ["The run was stopped early: its numbers end before the last epoch asked for."]
    return []


def _about_stability(series: Series, record: dict[str, Any]) -> list[str]:
    remedy = "take smaller steps or a larger damping."
    if series and (epoch := first_non_finite(series)) is not None:
        return [f"Values stopped being finite at epoch {epoch}: {remedy}"]
    if record.get("status") == "diverged" or (series and largest_rise(series)):
        return [f"Training was unstable: {remedy}"]
    return []


def _about_fit(series: Series) -> list[str]:
    if not series or first_non_finite(series) is not None:
        return []
    if (rise := overfitting(series)) is not None:
        return [
            f"{held_out_name(series).capitalize()} loss was lowest at epoch {rise.start}: stop "
            "there or damp the input layer more."
        ]
    if (drop := _last_drop(series["train_loss"])) > STILL_FALLING_SHARE:
        return [f"Train loss fell {drop:.0%} in the last epoch: try more epochs."]
    return []


def _about_the_evidence(series: Series, record: dict[str, Any]) -> list[str]:
    steps = []
    if series and held_out_name(series) == "validation":
        steps.append("Once the settings are chosen, evaluate them once with `--held-out test`.")
    if (record.get("git") or {}).get("dirty"):
        steps.append("Files differed from the commit: commit and repeat before citing the numbers.")
    if record.get("status") == "completed":
        steps.append("One seed says nothing about spread: repeat with other values of `--seed`.")
    return steps


def _last_drop(loss: np.ndarray) -> float:
    """Share of the train loss that the last epoch took off; 0 with fewer than two epochs."""
    return float(1 - loss[-1] / loss[-2]) if len(loss) > 1 and loss[-2] > 0 else 0.0
