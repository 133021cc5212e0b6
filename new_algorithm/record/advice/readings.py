"""Quantities of a run that several rules ask for."""

import math

import numpy as np

from new_algorithm.plots.series import held_out_name
from new_algorithm.record.advice.finding import Record, Series
from new_algorithm.record.advice.remedies import in_force

LEAST_STEPS = 20  # of a run whose losses are judged: two spans of a momentum of .9
FAR_OUT = 100.0  # times the loss of a constant answer: fewer steps are no excuse for that


def loss_of_constant(record: Record, series: Series) -> float | None:
    """The loss of the best answer that is the same for all rows, or an upper bound of it.

    ln K nats of K classes; m/2 of standardised targets (n, m), whose loss is half the squared
    error. None where the loss has no such scale.
    """
    data = record.get("data", {})
    if "train_accuracy" in series and data.get("num_classes"):
        return math.log(data["num_classes"])
    return len(data["target_sd"]) / 2 if data.get("target_sd") else None


def learnt(record: Record, series: Series, part: str = "train") -> float | None:
    """How much of what there is to learn was learnt: 0 of a constant answer, 1 of no error.

    (accuracy − chance)/(1 − chance) of classes, R² = 1 − loss/(m/2) of standardised targets
    (n, m). None where there is no such scale.
    """
    data = record.get("data", {})
    chance, accuracy = data.get("chance_accuracy"), series.get(f"{part}_accuracy")
    if accuracy is not None and chance is not None and chance < 1:
        return float((accuracy[-1] - chance) / (1 - chance))
    constant = loss_of_constant(record, series) if data.get("target_sd") else None
    return None if constant is None else float(1 - series[f"{part}_loss"][-1] / constant)


def steps_taken(record: Record, series: Series) -> int | None:
    """Steps of a whole run; None where the rows of a batch are not in the record."""
    size, rows = (
        in_force(record, "batch_size"),
        record.get("data", {}).get("counts", {}).get("train"),
    )
    if size == "full":
        return int(series["epoch"][-1])
    return int(series["epoch"][-1]) * max(1, rows // size) if size and rows else None


def too_early(record: Record, series: Series) -> bool:
    """Whether so few steps were taken that the losses say nothing of how long these should be."""
    steps, loss = steps_taken(record, series), series["train_loss"]
    if steps is None or steps >= LEAST_STEPS:
        return False
    constant = loss_of_constant(record, series) or loss.min()
    return not loss[-1] > FAR_OUT * constant


def growth(series: Series) -> np.ndarray:
    """Weight norms (layers,) of the last epoch over those of the first; 1 where these are 0."""
    start, end = series["layer_norms"][0], series["layer_norms"][-1]
    return np.divide(end, start, out=np.ones_like(start, float), where=start > 0)


def first_non_finite(series: Series) -> int | None:
    """The first epoch with a value that is NaN or infinite."""
    bad = [~np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in series.values()]
    rows = np.flatnonzero(np.any(bad, axis=0))
    return int(series["epoch"][rows[0]]) if rows.size else None


def norms_moved(series: Series) -> float:
    """The largest relative change of a layer's weight norm from the first epoch to the last."""
    moved = np.abs(growth(series) - 1)
    return float(np.nan_to_num(moved, nan=np.inf).max()) if moved.size else np.inf


def fall(loss: np.ndarray) -> float:
    """The relative fall of a loss from its first value to its last."""
    return float(1 - loss[-1] / loss[0]) if loss[0] > 0 else 0.0


def held_out(series: Series) -> str:
    return held_out_name(series)


def at_layer(values: np.ndarray, layer: int) -> str:
    return f"{values[layer]:.3g} in layer {layer + 1}"


def cg_layers(record: Record, series: Series) -> np.ndarray:
    """Which layers' solves by conjugate gradients ended at their cap in the last epoch."""
    iterations, cap = series["cg_iterations"][-1], in_force(record, "cg_iterations")
    return (iterations > 0) & (iterations >= (np.inf if cap is None else cap) - 0.5)
