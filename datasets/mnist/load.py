"""MNIST, found or fetched, and scaled for training."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset
from datasets.mnist.fetch import FETCHES, Fetch, fetch_mnist
from datasets.mnist.files import MNIST, Arrays, Expected, read_folder
from datasets.sources import FOLDER_VARIABLE, OWN_FOLDER, FetchError, folders_to_search
from datasets.splits import Split
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import save_npz

log = logging.getLogger(__name__)

MNIST_TRAINING_ROWS = MNIST["x_train"].shape[0]
CLASSES = 10

# Of all 47,040,000 training pixels / 255: 0.13066048 and 0.30810780, rounded as is customary.
PIXEL_MEAN = 0.1307
PIXEL_SD = 0.3081
SCALED_PIXEL = ((np.arange(256) / 255 - PIXEL_MEAN) / PIXEL_SD).astype(np.float32)


def load_mnist(data_dir: Path | None, split: Split) -> Dataset:
    """Load MNIST from the first source that has it; each row is the 784 pixels of an image."""
    source, loaded = find_mnist(data_dir)
    arrays = split.limit(split.hold_out(loaded))
    return Dataset(
        name="mnist",
        x_train=scale(arrays["x_train"]),
        y_train=arrays["y_train"].astype(np.int64),
        x_test=scale(arrays["x_test"]),
        y_test=arrays["y_test"].astype(np.int64),
        num_classes=CLASSES,
        held_out=split.held_out,
        source=source,
        scaling=f"(x/255 - {PIXEL_MEAN})/{PIXEL_SD}, flattened to 784 pixels",
        sha256={key: array.sha256 for key, array in MNIST.items()},
    )


def scale(images: NDArray) -> NDArray[np.float32]:
    """uint8 (n, 28, 28) -> float32 (n, 784), the training pixels of mean 0 and sd 1."""
    return SCALED_PIXEL[images.reshape(len(images), -1)]


def find_mnist(
    data_dir: Path | None = None,
    *,
    own_folder: Path = OWN_FOLDER,
    expected: Expected = MNIST,
    fetches: Mapping[str, Fetch] = FETCHES,
) -> tuple[str, Arrays]:
    """Return the source in words, and the verified uint8 arrays.

    The words name no folder of this machine, because they go into records that are published.

    In this order: `data_dir`, or else the folder that BACK_PROJECTION_DATASETS names; `own_folder`;
    each of `fetches`. UserError if an explicit `data_dir` holds no MNIST, if a file that is found
    is damaged or altered (it is never skipped), or if every source fails.
    """
    for folder, words in folders_to_search(data_dir, own_folder):
        found = read_folder(folder, expected)
        if found is not None:
            log.info("MNIST: verified, read from %s in %s", found[0], words)
            return f"{found[0]} in {words}", found[1]
        if folder == data_dir:
            raise UserError(
                f"{data_dir}: no MNIST there; put mnist.npz or the four IDX files into that "
                "folder, or name another"
            )
        if folder != own_folder:
            log.warning("MNIST: none in %s (%s), looking elsewhere", folder, FOLDER_VARIABLE)
    try:
        source, arrays = fetch_mnist(expected, fetches)
    except FetchError as error:
        raise UserError(
            f"MNIST could not be fetched: {error}. Put mnist.npz or the four IDX files into "
            f"{own_folder}, or let {FOLDER_VARIABLE} name their folder"
        ) from error
    kept = own_folder / "mnist.npz"
    try:
        save_npz(kept, **arrays)
    except OSError as error:
        log.warning("MNIST: not kept as %s (%s)", kept, error.strerror or error)
        return source, arrays
    log.info("MNIST: verified, fetched from %s, kept as %s", source, kept)
    return f"{source}, kept as datasets/{kept.name}", arrays
