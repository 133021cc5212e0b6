"""Where a loss rises, and where it comes back: pure functions of the recorded arrays."""

from typing import NamedTuple

import numpy as np

from new_algorithm.plots.series import Series, held_out_name

LARGEST_RISE = 0.10  # train loss above its best so far
LARGEST_HELD_OUT_RISE = 0.05  # held-out loss above its best while train loss still falls
AWAY = 0.5  # train loss above its best so far: of a swing; sound runs end at most 10% above it


class Rise(NamedTuple):
    """The rise of a loss from epoch `start` to `end`, relative to its value at `start`."""

    start: int
    end: int
    relative: float


class Swing(NamedTuple):
    """Places `start` to `end` of a loss, in a row, where it is AWAY from its best so far.

    height: the most by which it is above that.
    """

    start: int
    end: int
    height: float

    @property
    def length(self) -> int:
        return self.end - self.start + 1


def swings(loss: np.ndarray) -> list[Swing]:
    """The swings of a finite loss (epochs,); the last may go on where the loss ends."""
    best = np.minimum.accumulate(loss)
    away = np.concatenate([[False], loss > (1 + AWAY) * best, [False]])
    starts, ends = (np.flatnonzero(np.diff(away.astype(int)) == sign) for sign in (1, -1))
    return [
        Swing(int(start), int(end) - 1, float((loss - best)[start:end].max()))
        for start, end in zip(starts, ends, strict=True)
    ]


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
    loss, epochs = np.where(np.isfinite(series[name]), series[name], np.nan), series["epoch"]
    best = np.fmin.accumulate(loss)
    relative = np.divide(loss - best, best, out=np.zeros_like(loss), where=best > 0)
    relative = np.nan_to_num(relative, nan=0.0)
    end = int(relative.argmax()) if end is None else end
    if relative[end] <= least:
        return None
    start = np.nanargmin(loss[: end + 1])
    return Rise(int(epochs[start]), int(epochs[end]), float(relative[end]))
