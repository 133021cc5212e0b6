"""MNIST-1D: ten classes of series of 40 numbers, made from templates of the ten digits.

S. Greydanus, D. Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024. Its package makes
the same numbers from a seed, and its repository holds them; accepted here are exactly these.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from datasets.dataset import Dataset, Split, hash_arrays
from datasets.npz_file import read_arrays
from datasets.pinned_file import PinnedFile
from datasets.sources import folders_to_search
from new_algorithm.cli.errors import UserError

FILE = "mnist1d.npz"
HOST = "greydanus/mnist1d"
COMMIT = "7878d96082abd200c546a07a4101fa90b30fdf7e"
PICKLED = PinnedFile(
    "MNIST-1D",
    "mnist1d_data.pkl",
    "e95257676e9fb04568e46dda007da22cc8664ccba1451456afde55d7f6dd6aa5",
    HOST,
    f"https://raw.githubusercontent.com/{HOST}/{COMMIT}/mnist1d_data.pkl",
)
IN_THE_PICKLE = {"x_train": "x", "y_train": "y", "x_test": "x_test", "y_test": "y_test"}
SHA256 = {  # of the arrays' bytes, x as float32 and y as int64
    "x_train": "d53506bddd12d3b72c7153b1ae7f34807724b1dd078a7273809bf9d0792319f6",
    "y_train": "d97dc7aecec8ad6b5d8f143ba3e9c4bd7e25c420d7dfc2eb990591cfc0ed3e15",
    "x_test": "30addc43827c82aafa5db8bc97cea63349ca687e87db2f201cc4f5415d9a4ebd",
    "y_test": "8de99be3ff9dab15ae0dc072c3d6ced7cf6b33d365888ce4a386fc944489452c",
}
CLASSES = 10
TRAINING_ROWS = 4_000
Arrays = dict[str, np.ndarray]


def load_mnist1d(data_dir: Path | None = None, split: Split | None = None) -> Dataset:
    """Load 4,000 training series and 1,000 test series, float32 (n, 40), in a random order.

    They are as their makers scaled them: one mean, 0, and one standard deviation, 1, of all numbers
    of all series together. Of the training series the last sixth, 666, is for validation.
    data_dir: searched alone; without it BACK_PROJECTION_DATASETS, then `datasets/`, into which it
    is fetched. UserError where it cannot be had, or if a file holds other numbers.
    """
    split = split or Split()
    split.check_batch(TRAINING_ROWS)
    words, arrays = find_mnist1d(data_dir)
    used: Any = split.limit(split.hold_out(arrays))
    return Dataset(
        **used,
        name="mnist1d",
        num_classes=CLASSES,
        held_out=split.held_out,
        source=words,
        scaling="as made: mean 0 and standard deviation 1 of all numbers of all series",
        sha256=dict(SHA256),
    )


def find_mnist1d(data_dir: Path | None = None) -> tuple[str, Arrays]:
    """The source in words, and the verified arrays: x float32 (n, 40), y int64 (n,)."""
    for folder, words in folders_to_search(data_dir):
        if (folder / FILE).is_file():
            return f"{FILE} in {words}", _verified(folder / FILE)
        if folder == data_dir and not (folder / PICKLED.name).is_file():
            raise UserError(
                f"{data_dir}: no {FILE} there, nor {PICKLED.name}; put one of them into that "
                "folder, or name another"
            )
    words, content = PICKLED.find(data_dir)
    pickled = pickle.loads(content)  # whose every byte is known: it runs nothing but NumPy's arrays
    return words, _in_our_types({key: pickled[name] for key, name in IN_THE_PICKLE.items()})


def _verified(path: Path) -> Arrays:
    """Floats may be saved in double precision, as the package makes them."""
    arrays = _in_our_types(read_arrays(path, SHA256))
    for key, sha256 in hash_arrays(arrays).items():
        if sha256 != SHA256[key]:
            raise UserError(
                f"{path}: {key} is not MNIST-1D's, its contents were altered; delete the file, and "
                f"{PICKLED.name} is fetched in its place"
            )
    return arrays


def _in_our_types(arrays: Arrays) -> Arrays:
    types = {"x": np.float32, "y": np.int64}
    return {key: array.astype(types[key[0]]) for key, array in arrays.items()}
