import numpy as np
import pytest

from datasets.mnist import load as mnist
from datasets.splits import Split


def test_scaling_matches_its_formula_and_flattens_by_rows():
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    scaled = mnist.scale(images)
    expected = (images.reshape(7, 784) / 255 - 0.1307) / 0.3081
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


@pytest.fixture
def numbered(monkeypatch):
    """Twelve training and five test images, each filled with its own number as is its label."""
    train, test = np.arange(12, dtype=np.uint8), np.arange(100, 105, dtype=np.uint8)
    arrays = {
        "x_train": np.tile(train[:, None, None], (1, 28, 28)),
        "y_train": train,
        "x_test": np.tile(test[:, None, None], (1, 28, 28)),
        "y_test": test,
    }
    monkeypatch.setattr(mnist, "find_mnist", lambda data_dir: ("a fake", arrays))


@pytest.mark.usefixtures("numbered")
def test_validation_and_limits_choose_the_rows():
    dataset = mnist.load_mnist(None, Split("validation", train_limit=3, test_limit=1))
    np.testing.assert_array_equal(dataset.y_train, [0, 1, 2])
    np.testing.assert_array_equal(dataset.y_test, [10])
    np.testing.assert_allclose(dataset.x_test, (10 / 255 - 0.1307) / 0.3081, rtol=1e-6)
    assert dataset.held_out == "validation"


@pytest.mark.usefixtures("numbered")
def test_the_form_is_the_common_one():
    dataset = mnist.load_mnist(None, Split())
    assert dataset.x_train.shape == (12, 784)
    assert dataset.y_test.dtype == np.int64
    assert dataset.num_classes == 10
    assert dataset.source == "a fake"
