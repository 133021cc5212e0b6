"""MNIST in a folder: `mnist.npz` or the four IDX files, accepted only if every pixel is right.

Arrays are hashed, not files, so another compression, type or memory order changes nothing.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import hash_arrays
from datasets.gzip_files import open_parts
from datasets.npz_file import read_arrays
from new_algorithm.cli.errors import UserError

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class ExpectedArray:
    """The shape of a uint8 array and the sha256 of its bytes in C order."""

    shape: tuple[int, ...]
    sha256: str


Expected = Mapping[str, ExpectedArray]

MNIST = {
    "x_train": ExpectedArray(
        (60_000, 28, 28), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"
    ),
    "y_train": ExpectedArray(
        (60_000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"
    ),
    "x_test": ExpectedArray(
        (10_000, 28, 28), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
    ),
    "y_test": ExpectedArray(
        (10_000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"
    ),
}

IDX_STEMS = {
    "x_train": ("train-images", "idx3-ubyte"),
    "y_train": ("train-labels", "idx1-ubyte"),
    "x_test": ("t10k-images", "idx3-ubyte"),
    "y_test": ("t10k-labels", "idx1-ubyte"),
}
IDX_UNSIGNED_BYTE = 0x08


def read_folder(folder: Path, expected: Expected = MNIST) -> tuple[str, Arrays] | None:
    """What in `folder` holds MNIST, in words, and its uint8 arrays; None if nothing does.

    UserError if the files are there but damaged, incomplete or altered.
    """
    try:
        npz = folder / "mnist.npz"
        if npz.is_file():
            return npz.name, _verified(npz, _read_npz(npz, expected), expected)
        idx = {key: path for key in IDX_STEMS if (path := _find_idx(folder, key))}
        if not idx:
            return None
        arrays = {key: _read_idx(path, expected[key].shape) for key, path in idx.items()}
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if missing := [f"{stem}-{kind}" for key, (stem, kind) in IDX_STEMS.items() if key not in idx]:
        raise UserError(f"{folder}: of MNIST's four files {', '.join(missing)} is missing; add it")
    return "the four IDX files", _verified(folder, arrays, expected)


def verify(arrays: Arrays, expected: Expected = MNIST) -> str | None:
    """The name of the first array whose contents are not MNIST's; None if all are."""
    hashes = hash_arrays(arrays)
    return next((key for key in expected if hashes.get(key) != expected[key].sha256), None)


def _verified(where: Path, arrays: Arrays, expected: Expected) -> Arrays:
    if altered := verify(arrays, expected):
        raise UserError(
            f"{where}: {altered} is not MNIST's, its contents were altered; "
            "replace the file by an original, or delete it"
        )
    return arrays


def _read_npz(path: Path, expected: Expected) -> Arrays:
    loaded = read_arrays(path, expected)
    for key, array in expected.items():
        if loaded[key].size != math.prod(array.shape):
            raise UserError(f"{path}: {key} has shape {loaded[key].shape}, not {array.shape}")
    return {key: _as_bytes(path, key, loaded[key]).reshape(expected[key].shape) for key in expected}


def _as_bytes(path: Path, key: str, array: NDArray) -> NDArray:
    with np.errstate(invalid="ignore"):
        converted = np.ascontiguousarray(array, dtype=np.uint8)
    if not np.array_equal(converted, array):
        raise UserError(f"{path}: {key} is not MNIST's, it holds more than whole numbers 0 to 255")
    return converted


def _find_idx(folder: Path, key: str) -> Path | None:
    stem, kind = IDX_STEMS[key]
    names = (f"{stem}{separator}{kind}{end}" for separator in "-." for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray:
    header = struct.pack(f">4B{len(shape)}I", 0, 0, IDX_UNSIGNED_BYTE, len(shape), *shape)
    size = len(header) + math.prod(shape)
    with open_parts([path]) as file:
        content = file.read(size + 1)  # one more byte: the end, where gzip checks its CRC
    if not content.startswith(header) or len(content) != size:
        raise UserError(
            f"{path}: not the {size} bytes of an IDX file of shape {shape}; "
            "replace it by an original, or delete it"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
