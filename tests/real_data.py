"""Real data, for tests that use them where they are at hand."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MNIST_FOLDER = Path(os.environ.get("BACK_PROJECTION_DATASETS", REPOSITORY / "datasets")).resolve()
needs_mnist = pytest.mark.skipif(
    not (MNIST_FOLDER / "mnist.npz").is_file(), reason="no mnist.npz at hand"
)
