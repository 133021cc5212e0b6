"""Omniglot's minimal background sets and its 20 one-shot runs: images of handwritten characters.

The two minimal sets have five alphabets each and share Latin and Greek. What is learnt from is the
first; the test classes are those of the three alphabets that only the second has. Figures on them
are not those of the full Omniglot, whose background set has 964 classes.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import HeldOut, Split
from datasets.pinned_file import PinnedFile

HOST = "brendenlake/omniglot"
URL = f"https://raw.githubusercontent.com/{HOST}/master/python"


def _file(name: str, sha256: str, path: str) -> PinnedFile:
    return PinnedFile("Omniglot", name, sha256, HOST, f"{URL}/{path}")


SMALL_1 = _file(
    "omniglot_images_background_small1.zip",
    "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
    "images_background_small1.zip",
)
SMALL_2 = _file(
    "omniglot_images_background_small2.zip",
    "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
    "images_background_small2.zip",
)
RUNS = _file(
    "omniglot_one_shot_runs.zip",
    "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
    "one-shot-classification/all_runs.zip",
)

TRAINING = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")  # 136 classes
VALIDATION = ("Balinese", "Early_Aramaic")  # 46 of them
TEST = ("Japanese_(katakana)", "Sanskrit", "Tagalog")  # 106 classes

EXAMPLES = 20  # of each class, one a drawer
WAYS = 20  # classes of a run
PIXELS, SIZE = 105, 28  # on a side: as drawn, as loaded


@dataclass(frozen=True, eq=False)
class OneShotRuns:
    """Twenty tasks, each of 20 classes of one alphabet that is in neither minimal set.

    learn: (20, 20, 28, 28), one image a class; the class is the index. name: (20, 20, 28, 28), the
    images to be named. labels: (20, 20), their classes.
    """

    learn: NDArray[np.float32]
    name: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Omniglot:
    """Classes to learn from, classes that are held out, and the official one-shot runs.

    train, test: float32 (classes, 20, 28, 28), ink 1 on 0. train_names, test_names: of the
    classes, "Greek/character01". held_out: what `test` really is; the runs are always those of the
    test. sha256: of the files.
    """

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    train_names: tuple[str, ...]
    test_names: tuple[str, ...]
    runs: OneShotRuns
    held_out: HeldOut
    source: str
    sha256: dict[str, str]

    def provenance(self) -> dict[str, Any]:
        """What a record of a run says about its data, ready for JSON."""
        return {
            "name": "omniglot-minimal",
            "source": self.source,
            "scaling": "ink 1, paper 0, 105 × 105 pixels averaged to 28 × 28",
            "held_out": self.held_out,
            "sha256": dict(self.sha256),
            "counts": {
                "train": EXAMPLES * len(self.train),
                self.held_out: EXAMPLES * len(self.test),
            },
            "classes": {"train": len(self.train), self.held_out: len(self.test)},
            "shape": [SIZE, SIZE],
        }


def load_omniglot(data_dir: Path | str | None = None, *, held_out: HeldOut = "test") -> Omniglot:
    """Load both minimal sets and the runs, 5,640 images, in about two seconds.

    held_out: "test", the three alphabets that only the second set has, after training on all five
    of the first; "validation", two of these five, after training on the other three; or "unseen",
    the three test alphabets after training on those three.
    data_dir: searched alone; without it BACK_PROJECTION_DATASETS, then `datasets/`, then GitHub.
    UserError where the files are not to be had, or were altered.
    """
    Split(held_out)  # refuses what is none of the three
    words, contents = find_omniglot(None if data_dir is None else Path(data_dir))
    without = () if held_out == "test" else VALIDATION
    training = [alphabet for alphabet in TRAINING if alphabet not in without]
    first, second, runs = (zipfile.ZipFile(io.BytesIO(content)) for content in contents)
    train_names, train = read_classes(first, training)
    if held_out == "validation":
        test_names, test = read_classes(first, VALIDATION)
    else:
        test_names, test = read_classes(second, TEST)
    return Omniglot(
        train=train,
        test=test,
        train_names=train_names,
        test_names=test_names,
        runs=read_runs(runs),
        held_out=held_out,
        source=words,
        sha256={file.name: file.sha256 for file in (SMALL_1, SMALL_2, RUNS)},
    )


def find_omniglot(data_dir: Path | None = None) -> tuple[str, list[bytes]]:
    """The sources in words, and the verified bytes of the three files; see `PinnedFile.find`."""
    found = [file.find(data_dir) for file in (SMALL_1, SMALL_2, RUNS)]
    return "; ".join(words for words, _ in found), [content for _, content in found]


def read_classes(
    archive: zipfile.ZipFile, alphabets: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Names, in their order, and images (classes, 20, 28, 28) of all classes of the alphabets.

    Members are FOLDER/ALPHABET/characterNN/NNNN_DRAWER.png.
    """
    members = sorted(
        member
        for member in archive.namelist()
        if member.endswith(".png") and member.split("/")[1] in alphabets
    )
    names = tuple("/".join(member.split("/")[1:3]) for member in members[::EXAMPLES])
    return names, _images(archive, members).reshape(len(names), EXAMPLES, SIZE, SIZE)


def read_runs(archive: zipfile.ZipFile) -> OneShotRuns:
    """Runs of runNN/training/classNN.png, runNN/test/itemNN.png and the pairs in class_labels.txt.

    A line of the latter is a test image and the training image of the same class.
    """
    runs = sorted({member.split("/")[0] for member in archive.namelist()})
    learn, name, labels = [], [], []
    for run in runs:
        pairs = dict(line.split() for line in archive.read(f"{run}/class_labels.txt").splitlines())
        classes = sorted(pairs.values())
        learn += [member.decode() for member in classes]
        name += [member.decode() for member in sorted(pairs)]
        labels += [classes.index(pairs[member]) for member in sorted(pairs)]
    shape = (len(runs), WAYS, SIZE, SIZE)
    return OneShotRuns(
        learn=_images(archive, learn).reshape(shape),
        name=_images(archive, name).reshape(shape),
        labels=np.array(labels, np.int64).reshape(shape[:2]),
    )


def _images(archive: zipfile.ZipFile, members: Sequence[str]) -> NDArray[np.float32]:
    from PIL import Image

    ink = np.empty((len(members), PIXELS, PIXELS), bool)
    for row, member in enumerate(members):
        with Image.open(io.BytesIO(archive.read(member)), formats=("PNG",)) as image:
            ink[row] = np.logical_not(np.asarray(image))  # of 1 bit, white where there is none
    return averaged(ink)


def averaged(ink: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Shares of ink in the areas of 28 × 28 pixels: (n, 105, 105) -> float32 (n, 28, 28).

    105/28 is 15/4: a new pixel covers 15 quarters of old ones each way, so that sums are whole
    numbers up to 225, exact in whatever order they are taken.
    """
    quarters = np.repeat(np.arange(PIXELS), 4).reshape(SIZE, -1)  # old pixels that each covers
    covered = np.stack([np.bincount(old, minlength=PIXELS) for old in quarters]).astype(np.float32)
    return covered @ ink.astype(np.float32) @ covered.T / np.float32(quarters.shape[1] ** 2)
