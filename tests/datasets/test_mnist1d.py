import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets import mnist1d
from datasets.dataset import Split, hash_arrays
from datasets.mnist1d import load_mnist1d
from datasets.sources import OWN_FOLDER
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

DATA = Path(os.environ.get("BACK_PROJECTION_DATASETS") or OWN_FOLDER)


@pytest.fixture
def arrays(monkeypatch):
    """Arrays that are MNIST-1D's for as long as the test runs, in double precision."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.standard_normal((60, 40)),
        "y_train": rng.integers(0, 10, 60),
        "x_test": rng.standard_normal((20, 40)),
        "y_test": rng.integers(0, 10, 20),
    }
    monkeypatch.setattr(mnist1d, "SHA256", hash_arrays(in_single_precision(arrays)))
    return arrays


def in_single_precision(arrays):
    return {key: a.astype(np.float32) if key[0] == "x" else a for key, a in arrays.items()}


@pytest.mark.parametrize("saved", [dict, in_single_precision])
def test_series_are_left_as_they_are(arrays, saved, tmp_path):
    np.savez(tmp_path / "mnist1d.npz", **saved(arrays))
    data = load_mnist1d(tmp_path)
    assert (data.x_train.dtype, data.y_train.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(data.x_train, arrays["x_train"].astype(np.float32))
    np.testing.assert_array_equal(data.y_test, arrays["y_test"])
    assert data.provenance()["counts"] == {"train": 60, "test": 20}


def test_validation_is_the_last_sixth(arrays, tmp_path):
    np.savez(tmp_path / "mnist1d.npz", **arrays)
    part = load_mnist1d(tmp_path, Split("validation", train_limit=30))
    np.testing.assert_array_equal(part.y_train, arrays["y_train"][:30])
    np.testing.assert_array_equal(part.y_test, arrays["y_train"][50:])
    unseen = load_mnist1d(tmp_path, Split("unseen"))
    np.testing.assert_array_equal(unseen.y_train, arrays["y_train"][:50])
    np.testing.assert_array_equal(unseen.y_test, arrays["y_test"])


def test_an_altered_one_is_one_line(arrays, own):
    arrays["x_test"][3, 4] += 1e-3
    np.savez(own / "mnist1d.npz", **arrays)
    with pytest.raises(UserError, match=r"mnist1d\.npz: x_test is not MNIST-1D's.* delete the"):
        load_mnist1d()


@pytest.fixture
def served(arrays, server, monkeypatch):
    """served(body): the URL gives these bytes, where a pickle of the arrays is the known one."""
    names = mnist1d.IN_THE_PICKLE
    sound = pickle.dumps({names[key]: array for key, array in arrays.items()} | {"t": 0})
    pinned = replace(mnist1d.PICKLED, sha256=hashlib.sha256(sound).hexdigest())

    def serve(body=sound):
        url = server.give("mnist1d_data.pkl", Answer(body=body))
        monkeypatch.setattr(mnist1d, "PICKLED", replace(pinned, url=url))

    return serve


def test_where_there_is_none_it_is_fetched_once(arrays, own, server, served):
    served()
    first, again = load_mnist1d(), load_mnist1d()
    assert len(server.asked) == 1
    assert first.source == "greydanus/mnist1d, kept as datasets/mnist1d_data.pkl"
    assert again.source == "mnist1d_data.pkl in datasets/"
    for data in first, again:
        assert (data.x_train.dtype, data.y_train.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(data.x_train, arrays["x_train"].astype(np.float32))
        np.testing.assert_array_equal(data.y_test, arrays["y_test"])


def test_what_is_fetched_and_is_another_is_neither_read_nor_kept(arrays, own, served):
    served(pickle.dumps(print))
    with pytest.raises(UserError, match=r"wrong hash\)\. By hand: download http.* into a folder"):
        load_mnist1d()
    assert [*own.iterdir()] == []


def test_a_pickle_that_was_altered_is_not_read(arrays, own, served):
    served()
    (own / "mnist1d_data.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match=r"mnist1d_data\.pkl: not MNIST-1D, .* were altered"):
        load_mnist1d()


@pytest.mark.skipif(not (DATA / mnist1d.FILE).is_file(), reason="no MNIST-1D on this machine")
def test_the_real_one():
    data = load_mnist1d(DATA)
    assert (data.x_train.shape, data.x_test.shape) == ((4000, 40), (1000, 40))
    numbers = np.concatenate([data.x_train, data.x_test])
    assert abs(numbers.mean()) < 1e-6
    assert numbers.std() == pytest.approx(1, abs=1e-6)
    assert np.bincount(data.y_train).min() > 380
