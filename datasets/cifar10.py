"""CIFAR-10: colour images of ten classes, the official version or else a sample of JPEG copies.

The official archive, or the folder it unpacks to, is accepted only if its six batches have the MD5
sums that torchvision publishes, which are compared before anything is unpickled. Figures on the
JPEG sample compare only with each other: it has half of the images, and JPEG changed their pixels.
"""

import hashlib
import logging
import os
import pickle
import tarfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import sources
from datasets.cifar10_sample import (
    CAVEAT,
    CLASSES,
    IMAGE_SHAPE,
    REMEDY,
    SAMPLE,
    Arrays,
    read_sample,
)
from datasets.dataset import Dataset, HeldOut, Split, hash_arrays
from datasets.sources import FOLDER_VARIABLE, fetch_file, fetch_first, folders_to_search, open_parts
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
BATCHES = {  # name -> md5, those of the training set in their order, then the test set
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CITATION = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"


def load_cifar10(
    data_dir: Path | str | None = None,
    *,
    held_out: HeldOut = "test",
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """Load CIFAR-10, or its sample where the official version is not at hand.

    Images are uint8 (n, 3, 32, 32), not scaled, labels int64 (n,), indices of CLASSES: 50,000 for
    training and 10,000 for the test; of the sample 25,000 and 5,000, in a random order that is the
    same in every run. `name` and `source` say which it is. Figures on the sample compare only
    with each other, never with published ones.

    data_dir: searched alone; without it BACK_PROJECTION_DATASETS, then `datasets/`. held_out:
    "validation" puts a sixth of the training images, of each class alike, in the place of the test
    set, "unseen" only leaves them out. Limits keep the first rows. UserError where there is
    neither version, and for one that is damaged or altered.
    """
    split = Split(held_out, train_limit, test_limit)
    path, words = locate_cifar10(None if data_dir is None else Path(data_dir))
    arrays = read_cifar10(path)
    is_sample = path.name == SAMPLE
    used: Any = split.limit(split.hold_out(arrays, strata=arrays["y_train"]))
    return Dataset(
        **used,
        name="cifar10-jpeg-sample" if is_sample else "cifar10",
        num_classes=len(CLASSES),
        held_out=split.held_out,
        source=f"{words} ({f'{CAVEAT}; ' if is_sample else ''}{CITATION})",
        scaling="none, pixels 0 to 255",
        sha256=hash_arrays(arrays),
        image_shape=IMAGE_SHAPE,
    )


def find_cifar10(data_dir: Path | None = None) -> Path | None:
    """What `load_cifar10` would read, or None; it is not opened."""
    found = _find(data_dir)
    return None if found is None else found[0]


def locate_cifar10(data_dir: Path | None = None) -> tuple[Path, str]:
    """What `load_cifar10` reads, and the words for it; UserError if no folder has any."""
    found = _find(data_dir)
    if found is None:
        searched = " or ".join(str(folder) for folder, _ in folders_to_search(data_dir))
        raise UserError(
            f"no CIFAR-10 in {searched}: put {ARCHIVE} or {SAMPLE} there, let "
            "`python -m datasets cifar10` fetch the former (170 MB), or let --data-dir or "
            f"{FOLDER_VARIABLE} name its folder"
        )
    return found


def _find(data_dir: Path | None) -> tuple[Path, str] | None:
    """The official version of any folder comes before a sample."""
    for name in (FOLDER, ARCHIVE, SAMPLE):
        for folder, words in folders_to_search(data_dir):
            try:
                if (folder / name).exists():
                    return folder / name, f"{name} in {words}"
            except OSError as error:
                raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return None


def read_cifar10(path: Path) -> Arrays:
    """The verified arrays of a file or folder that bears one of the three names."""
    if path.name == SAMPLE:
        return read_sample(path)
    batches = _in_folder(path) if path.name == FOLDER else _in_archive(path)
    return _join(path, batches)


def fetch_cifar10(data_dir: Path | None = None) -> None:
    """Fetch the official archive into `data_dir`, or `datasets/`.

    UserError if it is there already, if the folder cannot be written, or if the server does not
    send it: that says what to do by hand. Nothing else is left in the folder.
    """
    target = sources.place_for(ARCHIVE, data_dir)
    folder = target.parent
    by_hand = (
        f"By hand: download {URL} (170 MB, sha256 {SHA256}) into {folder} or into a folder that "
        f"{FOLDER_VARIABLE} names"
    )
    fetches = {"the University of Toronto": partial(_fetch, target)}
    source, _ = fetch_first("CIFAR-10", fetches, by_hand, folder)
    log.info("CIFAR-10: verified, fetched from %s, kept as %s", source, target)


def _fetch(target: Path, temporary: Path) -> None:
    os.replace(fetch_file(URL, temporary, SHA256), target)


# The official version: six pickles.


def _in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in BATCHES:
        try:
            yield name, (folder / name).read_bytes()
        except FileNotFoundError:
            continue  # is missed later
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error.strerror})") from error


def _in_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with open_parts([path]) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in BATCHES and (content := archive.extractfile(member)) is not None:
                    yield name, content.read()
    except tarfile.TarError as error:
        raise UserError(f"{path}: damaged ({error}); {REMEDY}") from error


def _join(path: Path, batches: Iterable[tuple[str, bytes]]) -> Arrays:
    found = {name: _unpickle(path, name, content) for name, content in batches}
    if missing := [name for name in BATCHES if name not in found]:
        raise UserError(f"{path}: {', '.join(missing)} is missing; {REMEDY}")
    *training, test = (found[name] for name in BATCHES)
    images, labels = zip(*training, strict=True)
    return {
        "x_train": np.concatenate(images),
        "y_train": np.concatenate(labels),
        "x_test": test[0],
        "y_test": test[1],
    }


def _unpickle(path: Path, name: str, content: bytes) -> tuple[NDArray, NDArray]:
    """Images and labels of a batch whose md5 is right: a pickle of another could run anything."""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != BATCHES[name]:
        raise UserError(f"{path}: {name} is not CIFAR-10's, its contents were altered; {REMEDY}")
    batch = pickle.loads(content, encoding="bytes")
    images = np.array(batch[b"data"], np.uint8).reshape(-1, *IMAGE_SHAPE)
    return images, np.array(batch[b"labels"], np.int64)
