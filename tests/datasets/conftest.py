"""Tiny stand-ins for MNIST, with their own shapes and hashes, for HIGGS and for CIFAR-10."""

import gzip
import io
import os
import struct
import zipfile
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
from PIL import Image

from datasets import cached_arrays, cifar10_sample, sources
from datasets.dataset import hash_arrays
from datasets.mnist import MNIST
from tests.datasets.misbehaving_server import serving


@pytest.fixture(autouse=True)
def no_folder_of_the_developer(monkeypatch):
    monkeypatch.delenv("BACK_PROJECTION_DATASETS", raising=False)


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_developer(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (cached_arrays, cifar10_sample):
            monkeypatch.setattr(module, "CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty folder in the place of `datasets/`."""
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def server(monkeypatch):
    """A server whose refusals are not waited out; `pauses` are what the waits would have been."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pauses = []
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=pauses.append))
    with serving() as server:
        server.pauses = pauses
        yield server


@pytest.fixture
def tiny(monkeypatch):
    """Arrays that are MNIST's for as long as the test runs."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (12, 4, 3), dtype=np.uint8),
        "y_train": rng.integers(0, 10, 12, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (5, 4, 3), dtype=np.uint8),
        "y_test": rng.integers(0, 10, 5, dtype=np.uint8),
    }
    for key, sha256 in hash_arrays(arrays).items():
        facts = replace(MNIST[key], shape=arrays[key].shape, sha256=sha256)
        monkeypatch.setitem(MNIST, key, facts)
    return arrays


@pytest.fixture
def idx_files(tiny):
    """File name -> bytes of the four uncompressed IDX files."""
    return {
        MNIST[key].idx_name: struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.tobytes()
        for key, array in tiny.items()
    }


@pytest.fixture
def zipped_idx_files(idx_files):
    return {f"{name}.gz": gzip.compress(content) for name, content in idx_files.items()}


@pytest.fixture
def save_files():
    def save(folder, files):
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return save


@pytest.fixture
def write_cifar10_sample():
    """write_cifar10_sample(folder) -> a zip of six training images a class, one for the test.

    Red is 20 times the class, green 40 times the number in the class, the test image being 6;
    blue is 20 at the left and 6 more with each column.
    """

    def write(folder):
        folder.mkdir(exist_ok=True)
        path = folder / cifar10_sample.SAMPLE
        pixels = np.empty((32, 32, 3), np.uint8)
        with zipfile.ZipFile(path, "w") as archive:
            for label, name in enumerate(cifar10_sample.CLASSES):
                for number in range(7):
                    place = "train" if number < 6 else "test"
                    pixels[..., 0], pixels[..., 1] = 20 * label, 40 * number
                    pixels[..., 2] = 20 + 6 * np.arange(32)
                    jpeg = io.BytesIO()
                    Image.fromarray(pixels).save(jpeg, "JPEG", quality=100, subsampling=0)
                    archive.writestr(f"{place}/{name}/{number:04}.jpg", jpeg.getvalue())
        return path

    return write


@pytest.fixture
def higgs_rows():
    """higgs_rows(n) -> (n, 29) as a HIGGS file holds them, the labels 0 and 1 in turn."""

    def rows(count, seed=0):
        features = np.random.default_rng(seed).normal(1, 3, (count, 28)).astype(np.float32)
        return np.column_stack([np.arange(count) % 2, features])

    return rows


@pytest.fixture
def higgs_csv():
    """higgs_csv(rows) -> the bytes of a HIGGS file."""
    return lambda rows: b"".join(
        ",".join(f"{value:.18e}" for value in row).encode() + b"\n" for row in rows
    )


@pytest.fixture
def write_higgs(higgs_csv):
    """write_higgs(path, rows): a file, plain or .gz, never of the same time as the one before."""
    times = count(1_600_000_000)

    def write(path, rows):
        content = higgs_csv(rows)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        os.utime(path, (0, next(times)))
        return path

    return write
