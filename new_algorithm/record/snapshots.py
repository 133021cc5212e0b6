"""What a network was after each epoch: all its arrays, of as many epochs as there is room for.

An analysis of the run reads from them how the training went, without training again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from new_algorithm.record.files import replace_atomically

FOLDER = "snapshots"
MOST, LARGEST = 24, 128e6  # of a run: snapshots, and bytes in all of them

Weights = Sequence[NDArray] | Mapping[str, NDArray]  # of layers from the input on, or by names


def named(weights: Weights) -> dict[str, NDArray]:
    """Return the arrays by the names that files have for them: layer_1, layer_2, ... of layers."""
    if isinstance(weights, Mapping):
        return dict(weights)
    return {f"layer_{layer}": array for layer, array in enumerate(weights, start=1)}


def kept_interval(epoch: int, size: float) -> int:
    """Return 1, 2, 4, …: of which epochs the multiples are kept when `epoch` is the last.

    size: of one snapshot in bytes. Two are kept at least, the first one and the last.
    """
    most = max(2, min(MOST, int(LARGEST // max(size, 1))))
    interval = 1
    while epoch // interval + 2 > most and interval < epoch:
        interval *= 2
    return interval


def save_snapshot(folder: Path, epoch: int, arrays: Mapping[str, NDArray]) -> None:
    """Write the arrays after `epoch` of the run in `folder`; delete those between that are now too
    many. Epoch 0 is the start, and always kept."""
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    with replace_atomically(place / f"{epoch}.npz", durable=False) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no array bears an option's name
    interval = kept_interval(epoch, sum(array.nbytes for array in arrays.values()))
    for number, path in snapshots(folder).items():
        if number != epoch and number % interval:
            path.unlink(missing_ok=True)


def snapshots(folder: Path) -> dict[int, Path]:
    """Return the snapshots of the run in `folder` by epoch, in their order."""
    found = {int(path.stem): path for path in (folder / FOLDER).glob("[0-9]*.npz")}
    return dict(sorted(found.items()))


def read_arrays(path: Path) -> dict[str, NDArray]:
    """Return the arrays of a snapshot, or of a run's weights.npz, by name.

    OSError or ValueError where there are none that can be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError:
        raise
    except Exception as error:  # zipfile raises whatever the damaged bytes lead it to
        raise ValueError(f"{type(error).__name__}: {error}") from error
