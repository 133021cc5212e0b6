"""Tiny archives in the layout of Omniglot's; the real ones where they are at hand."""

import hashlib
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import omniglot
from datasets.omniglot import averaged, load_omniglot
from datasets.sources import OWN_FOLDER
from new_algorithm.cli.errors import UserError

DATA = Path(os.environ.get("BACK_PROJECTION_DATASETS") or OWN_FOLDER)
REAL = all(
    (DATA / file.name).is_file() for file in (omniglot.SMALL_1, omniglot.SMALL_2, omniglot.RUNS)
)


def png(number):
    """`number` of the 105 rows are ink."""
    image = np.ones((105, 105), bool)
    image[:number] = False
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def zipped(members):
    """Members in the wrong order, with the entries for folders that the real ones have."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in sorted(members.items(), reverse=True):
            archive.writestr(name, content)
    return file.getvalue()


def background(folder, alphabets):
    """Two classes an alphabet; rows of ink: 10 for each alphabet, 40 more for the second class,
    one more for each drawer."""
    return {
        f"{folder}/{alphabet}/character{character:02}/{character:04}_{drawer + 1:02}.png": png(
            10 * number + 40 * (character - 1) + drawer
        )
        for number, alphabet in enumerate(alphabets)
        for character in (1, 2)
        for drawer in range(20)
    } | {f"{folder}/{alphabet}/": b"" for alphabet in alphabets}


def runs():
    """In run r item i shows the class that comes r places later."""
    members = {}
    for run in (1, 2):
        lines = []
        for i in range(20):
            shown = (i + run) % 20
            test, training = (
                f"run{run:02}/test/item{i + 1:02}.png",
                f"run{run:02}/training/class{shown + 1:02}.png",
            )
            lines.append(f"{test} {training}\n")
            members[test] = members[training] = png(5 * shown)
        members[f"run{run:02}/class_labels.txt"] = "".join(reversed(lines)).encode()
    return members


@pytest.fixture
def given(tmp_path, monkeypatch, save_files):
    """A folder whose three files are Omniglot's for as long as the test runs."""
    contents = {
        "SMALL_1": zipped(background("images_background_small1", omniglot.TRAINING)),
        "SMALL_2": zipped(
            background("images_background_small2", ("Greek", *omniglot.TEST, "Latin"))
        ),
        "RUNS": zipped(runs()),
    }
    files = {}
    for constant, content in contents.items():
        sha256 = hashlib.sha256(content).hexdigest()
        file = replace(getattr(omniglot, constant), sha256=sha256)
        monkeypatch.setattr(omniglot, constant, file)
        files[file.name] = content
    return save_files(tmp_path / "given", files)


def rows_of_ink(images):
    return 105 * images.mean(axis=(-1, -2))


@pytest.mark.parametrize(
    ("held_out", "train", "test"),
    [
        ("test", ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"], [10, 20, 30]),
        ("validation", ["Greek", "Korean", "Latin"], [0, 10]),
        ("unseen", ["Greek", "Korean", "Latin"], [10, 20, 30]),
    ],
)
def test_classes_by_alphabet_and_examples_by_drawer(given, held_out, train, test):
    data = load_omniglot(given, held_out=held_out)
    assert data.train_names == tuple(
        f"{alphabet}/character{i:02}" for alphabet in train for i in (1, 2)
    )
    starts = [10 * omniglot.TRAINING.index(alphabet) + i for alphabet in train for i in (0, 40)]
    expected = np.add.outer(starts, np.arange(20))
    np.testing.assert_allclose(rows_of_ink(data.train), expected, atol=1e-4)
    expected = np.add.outer([first + i for first in test for i in (0, 40)], np.arange(20))
    np.testing.assert_allclose(rows_of_ink(data.test), expected, atol=1e-4)
    assert not set(data.train_names) & set(data.test_names)
    assert (data.train.dtype, data.train.shape[1:]) == (np.float32, (20, 28, 28))
    assert data.provenance()["counts"] == {"train": 40 * len(train), held_out: 40 * len(test)}


def test_a_run_pairs_its_images_by_the_list_of_labels(given):
    data = load_omniglot(str(given)).runs
    assert data.learn.shape == data.name.shape == (2, 20, 28, 28)
    for run in (0, 1):
        expected = (np.arange(20) + run + 1) % 20
        np.testing.assert_array_equal(data.labels[run], expected)
        np.testing.assert_array_equal(data.name[run], data.learn[run][data.labels[run]])
    np.testing.assert_allclose(rows_of_ink(data.learn[0]), 5 * np.arange(20), atol=1e-4)


def test_pixels_are_averages_over_areas():
    """Beside a slow oracle: each old pixel cut into 4 × 4, each new one the mean of 15 × 15."""
    ink = np.random.default_rng(0).random((3, 105, 105)) < 0.3
    fine = ink.repeat(4, axis=1).repeat(4, axis=2).reshape(3, 28, 15, 28, 15)
    np.testing.assert_array_equal(
        averaged(ink), (fine.sum(axis=(2, 4)) / np.float32(225)).astype(np.float32)
    )


def test_an_altered_or_absent_file_is_one_line(given):
    with pytest.raises(UserError, match="held_out 'dev': choose"):
        load_omniglot(given, held_out="dev")
    (given / omniglot.SMALL_2.name).write_bytes(b"altered")
    with pytest.raises(UserError, match=r"small2\.zip: not Omniglot, its contents were altered"):
        load_omniglot(given)
    (given / omniglot.SMALL_2.name).unlink()
    with pytest.raises(UserError, match=r"given: no omniglot_images_background_small2\.zip there"):
        load_omniglot(given)


@pytest.mark.skipif(not REAL, reason="Omniglot's minimal sets are not on this machine")
def test_the_real_ones():
    data = load_omniglot(DATA)
    assert (len(data.train), len(data.test)) == (136, 106)
    assert data.runs.learn.shape == (20, 20, 28, 28)
    np.testing.assert_array_equal(np.sort(data.runs.labels, axis=1), [np.arange(20)] * 20)
    assert 0.07 < data.train.mean() < 0.08
    part = load_omniglot(DATA, held_out="validation")
    assert (len(part.train), len(part.test)) == (90, 46)
    np.testing.assert_array_equal(
        np.vstack([part.test, part.train]), data.train
    )  # the two alphabets are the first
