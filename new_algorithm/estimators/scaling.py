"""Columns brought to mean 0 and standard deviation 1."""

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler


def fitted_scaler(columns: NDArray, row_weights: NDArray | None, name: str) -> StandardScaler:
    """Return the scaler of columns (n, m). ValueError where squares of numbers are beyond float64;
    `name` is what the caller knows the columns as."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(columns, sample_weight=row_weights)
    beyond = np.flatnonzero(~np.isfinite(scaler.scale_))
    if len(beyond):
        place = f" in column {beyond[0]}" if columns.shape[1] > 1 else ""
        raise ValueError(
            f"{name} has numbers{place} whose squares are beyond float64: give it in a larger unit"
        )
    return scaler
