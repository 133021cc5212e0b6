"""CIFAR-10, its sample and tiny Shakespeare, where they lie on this machine; never fetched."""

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.characters import FILE, load_characters
from datasets.cifar10 import ARCHIVE, FOLDER, load_cifar10
from datasets.cifar10_sample import CLASSES, SAMPLE
from datasets.sources import OWN_FOLDER

DATA = Path(os.environ.get("BACK_PROJECTION_DATASETS") or OWN_FOLDER)
OFFICIAL = (DATA / FOLDER).exists() or (DATA / ARCHIVE).exists()


@pytest.mark.skipif(not OFFICIAL, reason="no official CIFAR-10 on this machine")
def test_the_official_cifar10():
    data = load_cifar10(DATA)
    assert (data.x_train.shape, data.x_test.shape) == ((50_000, 3, 32, 32), (10_000, 3, 32, 32))
    assert np.bincount(data.y_train).tolist() == [5_000] * 10
    assert np.bincount(data.y_test).tolist() == [1_000] * 10
    assert [CLASSES[label] for label in data.y_train[:3]] == ["frog", "truck", "truck"]
    assert_colours_are_those_of_cifar10(data.x_train, within=0.05)


@pytest.mark.skipif(
    OFFICIAL or not (DATA / SAMPLE).is_file(), reason="no sample of CIFAR-10 on this machine"
)
def test_the_sample_of_cifar10():
    data = load_cifar10(DATA)
    assert (data.x_train.shape, data.x_test.shape) == ((25_000, 3, 32, 32), (5_000, 3, 32, 32))
    assert np.bincount(data.y_train).tolist() == [2_500] * 10
    assert np.bincount(data.y_test).tolist() == [500] * 10
    assert_colours_are_those_of_cifar10(data.x_train, within=0.5)
    part = load_cifar10(DATA, held_out="validation")
    assert set(np.bincount(part.y_test)) == {416, 417}


def assert_colours_are_those_of_cifar10(images, within):
    """The means and standard deviations of the official training images, known everywhere."""
    mean, sd = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    np.testing.assert_allclose(mean, [125.3, 123.0, 113.9], atol=within)
    np.testing.assert_allclose(sd, [63.0, 62.1, 66.7], atol=within)


@pytest.mark.skipif(not (DATA / FILE.name).is_file(), reason="no tiny Shakespeare on this machine")
def test_tiny_shakespeare():
    text = load_characters(DATA)
    assert (len(text.train), len(text.test), len(text.alphabet)) == (1_003_854, 111_540, 65)
    assert text.text_of(text.train[:14]) == "First Citizen:"
    part = load_characters(DATA, held_out="validation")
    assert len(part.train) + len(part.test) == 1_003_854
