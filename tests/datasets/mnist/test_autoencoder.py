"""MNIST's pixels as targets that are probabilities."""

import numpy as np
import pytest

from datasets import load_dataset, mnist
from datasets.mnist_autoencoder import pixels


@pytest.fixture
def folder(tiny, tmp_path):
    np.savez(tmp_path / "mnist.npz", **tiny)
    return tmp_path


def test_targets_are_the_pixels_and_features_those_of_mnist(tiny, folder):
    data, digits = (
        load_dataset(name, data_dir=folder, held_out="validation", test_limit=1)
        for name in ("mnist-autoencoder", "mnist")
    )
    np.testing.assert_array_equal(data.x_train, digits.x_train)
    np.testing.assert_array_equal(data.x_test, digits.x_test)
    images = tiny["x_train"].reshape(12, -1) / np.float32(255)
    np.testing.assert_array_equal(data.y_train, images[:10])
    np.testing.assert_array_equal(data.y_test, images[10:11])
    assert data.y_train.dtype == np.float32
    assert (data.probabilities, data.num_classes, data.target_scale) == (True, None, None)


def test_a_record_says_how_many_probabilities_a_row_has(folder):
    facts = load_dataset("mnist-autoencoder", data_dir=folder).provenance()
    assert (facts["probabilities"], facts["num_classes"]) == (12, None)
    assert "probabilities" not in load_dataset("mnist", data_dir=folder).provenance()


def test_pixels_are_the_exact_inverse_of_the_scaling():
    every = np.arange(256, dtype=np.uint8)[None]
    found = pixels(mnist.scale(every))
    np.testing.assert_array_equal(found, every / np.float32(255))
    assert found.dtype == np.float32
