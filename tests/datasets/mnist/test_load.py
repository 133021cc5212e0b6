import logging

import numpy as np
import pytest

from datasets import mnist
from datasets.dataset import Split
from datasets.mnist import find_mnist
from new_algorithm.cli.errors import UserError


@pytest.fixture
def folder_with(tmp_path):
    def save(name, arrays):
        (tmp_path / name).mkdir(exist_ok=True)
        np.savez(tmp_path / name / "mnist.npz", **arrays)
        return tmp_path / name

    return save


@pytest.fixture(autouse=True)
def sources_are(monkeypatch, own, tiny):
    """sources_are(name=fetch, ...): these are the fetches; before that none may be asked."""

    def never(folder):
        raise AssertionError("this source must not be asked")

    def patch(**fetches):
        monkeypatch.setattr(mnist, "FETCHES", fetches or {"net": never})

    patch()
    return patch


def failing(reason):
    def fetch(folder):
        raise UserError(reason)

    return fetch


def altered(tiny):
    return tiny | {"x_train": tiny["x_train"] ^ 1}


def test_data_dir_comes_before_everything(own, tiny, folder_with, monkeypatch):
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(folder_with("named", tiny)))
    folder_with("own", tiny)
    given = folder_with("given", tiny)
    source, _ = find_mnist(given)
    assert source == "mnist.npz in the folder named by --data-dir"


def test_the_environment_comes_before_the_own_folder(own, tiny, folder_with, monkeypatch):
    named = folder_with("named", tiny)
    folder_with("own", tiny)
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    source, _ = find_mnist()
    assert source == "mnist.npz in the folder named by BACK_PROJECTION_DATASETS"


def test_the_own_folder_comes_before_the_network(own, tiny, folder_with, caplog):
    folder_with("own", tiny)
    with caplog.at_level(logging.INFO):
        source, arrays = find_mnist()
    assert source == "mnist.npz in datasets/"
    assert source in caplog.text
    np.testing.assert_array_equal(arrays["x_train"], tiny["x_train"])


def test_an_explicit_data_dir_without_mnist_is_never_replaced(
    own, tmp_path, tiny, folder_with, monkeypatch
):
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(folder_with("named", tiny)))
    folder_with("own", tiny)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="bare: no MNIST there"):
        find_mnist(tmp_path / "bare")


def test_an_environment_folder_without_mnist_is_one_notice(
    own, tmp_path, tiny, folder_with, monkeypatch, caplog
):
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(tmp_path / "bare"))
    folder_with("own", tiny)
    source, _ = find_mnist()
    assert source == "mnist.npz in datasets/"
    notices = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(notices) == 1
    assert "bare" in notices[0].getMessage()


@pytest.mark.parametrize("place", ["given", "named", "own"])
def test_an_altered_file_is_refused_instead_of_passed_over(
    own, tmp_path, tiny, folder_with, monkeypatch, place
):
    folder_with("own", tiny)
    spoilt = folder_with(place, altered(tiny))
    if place == "named":
        monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(spoilt))
    with pytest.raises(UserError, match=f"{place}.*altered"):
        find_mnist(spoilt if place == "given" else None)


def test_the_first_fetch_that_works_is_kept(own, tiny, sources_are, caplog):
    sources_are(a=failing("down"), b=lambda folder: tiny)
    source, arrays = find_mnist()
    np.testing.assert_array_equal(arrays["y_test"], tiny["y_test"])
    assert source == "b, kept as datasets/mnist.npz"
    assert "a failed (down)" in caplog.text
    assert [path.name for path in own.iterdir()] == ["mnist.npz"]
    sources_are()
    assert find_mnist()[0] == "mnist.npz in datasets/"


def test_the_temporary_folder_of_a_fetch_is_removed(own, tiny, sources_are):
    used = []

    def littering(folder):
        used.append(folder)
        (folder / "litter").write_text("x")
        raise UserError("down")

    sources_are(a=littering, b=lambda folder: tiny)
    find_mnist()
    assert not used[0].exists()
    assert [path.name for path in own.iterdir()] == ["mnist.npz"]


def test_when_all_fail_one_line_says_why_and_what_to_do(own, sources_are):
    sources_are(a=failing("answered 403"), b=failing("no answer"))
    with pytest.raises(UserError) as failure:
        find_mnist()
    message = str(failure.value)
    assert "a (answered 403); b (no answer)" in message
    assert f"into {own}" in message
    assert "BACK_PROJECTION_DATASETS" in message
    assert "\n" not in message
    assert list(own.iterdir()) == []


def test_what_cannot_be_kept_is_still_used(tiny, sources_are, monkeypatch, caplog):
    def full_disk(path, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mnist, "save_npz", full_disk)
    sources_are(a=lambda folder: tiny)
    assert find_mnist()[0] == "a"
    assert "No space left" in caplog.text


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
    assert dataset.image_shape == (28, 28)
    assert dataset.y_test.dtype == np.int64
    assert dataset.num_classes == 10
    assert dataset.source == "a fake"
