"""What looks wrong in the numbers of a run: pure functions of its recorded arrays."""

from typing import NamedTuple

import numpy as np

from new_algorithm.plots.series import Series, held_out_name

LARGEST_RISE = 0.10  # train loss above its best so far
LARGEST_HELD_OUT_RISE = 0.05  # held-out loss above its best while train loss still falls
CHANCE_MARGIN = 0.02  # accuracy above the share of the largest class
GROWTH_FACTOR = 10.0  # a layer's norm against that of the first epoch recorded


class Rise(NamedTuple):
    """The rise of a loss from epoch `start` to `end`, relative to its value at `start`."""

    start: int
    end: int
    relative: float


def find_anomalies(series: Series, *, chance_accuracy: float | None = None) -> list[str]:
    """One sentence for each anomaly; an empty list where the numbers look sound."""
    if not series:
        return []
    found, held = _non_finite(series), held_out_name(series)
    if (rise := largest_rise(series)) is not None:
        epochs = f"(epoch {rise.start} to epoch {rise.end})"
        found.append(f"Train loss rose {rise.relative:.0%} above its best so far {epochs}.")
    if (rise := overfitting(series)) is not None:
        found.append(
            f"Overfitting: {held} loss rose {rise.relative:.0%} from epoch {rise.start} to epoch "
            f"{rise.end} while train loss fell."
        )
    accuracy = series.get(f"{held}_accuracy", np.array([np.inf]))[-1]  # none for a regression
    if chance_accuracy is not None and accuracy <= chance_accuracy + CHANCE_MARGIN:
        found.append(
            f"Final {held} accuracy {accuracy:.4f} is at chance ({chance_accuracy:.4f} by "
            "always naming the largest class)."
        )
    return found + _growing_norms(series)


def largest_rise(series: Series) -> Rise | None:
    """The largest rise of the train loss above its best so far, if above LARGEST_RISE."""
    return _rise(series, "train_loss", LARGEST_RISE)


def overfitting(series: Series) -> Rise | None:
    """The rise of the held-out loss since its best while the train loss fell, if it is one."""
    train, epochs = series["train_loss"], series["epoch"]
    name = f"{held_out_name(series)}_loss"
    rise = _rise(series, name, LARGEST_HELD_OUT_RISE, end=len(epochs) - 1)
    return rise if rise and train[-1] < train[epochs == rise.start][0] else None


@np.errstate(over="ignore")
def _rise(series: Series, name: str, least: float, end: int | None = None) -> Rise | None:
    """The rise of a loss above its best so far at `end`, or the largest one, if above `least`."""
    loss, epochs = _finite(series[name]), series["epoch"]
    best = np.fmin.accumulate(loss)
    relative = np.divide(loss - best, best, out=np.zeros_like(loss), where=best > 0)
    relative = np.nan_to_num(relative, nan=0.0)
    end = int(relative.argmax()) if end is None else end
    if relative[end] <= least:
        return None
    start = np.nanargmin(loss[: end + 1])
    return Rise(int(epochs[start]), int(epochs[end]), float(relative[end]))


def first_non_finite(series: Series) -> int | None:
    """The first epoch with a value that is NaN or infinite."""
    bad = [~np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in series.values()]
    rows = np.flatnonzero(np.any(bad, axis=0))
    return int(series["epoch"][rows[0]]) if rows.size else None


def _non_finite(series: Series) -> list[str]:
    found = []
    for name, values in series.items():
        places = np.argwhere(~np.isfinite(values))
        if len(places):
            layer = f" of layer {places[0][1] + 1}" if values.ndim == 2 else ""
            found.append(
                f"`{name}`{layer} is {values[tuple(places[0])]} at epoch "
                f"{series['epoch'][places[0][0]]}, for the first time."
            )
    return found


@np.errstate(over="ignore")
def _growing_norms(series: Series) -> list[str]:
    norms = _finite(series["layer_norms"])
    growth = np.divide(norms, norms[0], out=np.ones_like(norms), where=norms[0] > 0)
    largest = np.nanmax(np.nan_to_num(growth, nan=1.0), axis=0)
    return [
        f"The weight norm of layer {layer} grew {factor:.0f}-fold after the first epoch."
        for layer, factor in enumerate(largest, start=1)
        if factor > GROWTH_FACTOR
    ]


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan).astype(float)
