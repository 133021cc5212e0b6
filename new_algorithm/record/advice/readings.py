"""Quantities of a run that several rules ask for."""

import math

import numpy as np

from new_algorithm.plots.series import held_out_name
from new_algorithm.record.advice.finding import Record, Series
from new_algorithm.record.advice.remedies import in_force


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


def norms_moved(series: Series) -> float:
    """The largest relative change of a layer's weight norm from the first epoch to the last."""
    start, end = series["layer_norms"][0], series["layer_norms"][-1]
    moved = np.divide(np.abs(end - start), start, out=np.zeros_like(start, float), where=start > 0)
    return float(np.nan_to_num(moved, nan=np.inf).max()) if start.size else np.inf


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
