import hashlib

import numpy as np
import pytest

from datasets.fetch_error import FetchError
from datasets.mnist.mirrors import MIRRORS, Mirror
from datasets.mnist.sources import find_mnist
from tests.datasets.misbehaving_server import Answer, resumable

BUSY = Answer(503)


@pytest.fixture
def serve(server):
    """serve("good", files, answer) -> the folder's URL: `answer` comes before each file does."""

    def serve_files(folder, files, *first):
        for name, content in files.items():
            server.give(f"{folder}/{name}", *first, resumable(content))
        return f"{server.url}/{folder}/"

    return serve_files


@pytest.fixture
def hashes(zipped_idx_files):
    return {name: hashlib.sha256(gz).hexdigest() for name, gz in zipped_idx_files.items()}


@pytest.fixture
def fetch(tmp_path, hashes, expected):
    def fetch_from(url):
        (tmp_path / "temporary").mkdir(exist_ok=True)
        return Mirror(url, hashes, pause_s=0).fetch(tmp_path / "temporary", expected)

    return fetch_from


def test_the_four_files_are_fetched(serve, zipped_idx_files, fetch, tiny):
    arrays = fetch(serve("good", zipped_idx_files))
    np.testing.assert_array_equal(arrays["x_train"], tiny["x_train"])


def test_503_twice_is_retried(server, serve, zipped_idx_files, fetch, tiny):
    arrays = fetch(serve("busy", zipped_idx_files, BUSY, BUSY))
    np.testing.assert_array_equal(arrays["y_test"], tiny["y_test"])
    assert len(server.asked) == 3 * 4


def test_503_for_ever_is_given_up(server, serve, zipped_idx_files, fetch):
    with pytest.raises(FetchError, match="answered 503"):
        fetch(serve("dead", zipped_idx_files, *[BUSY] * 9))
    assert len(server.asked) == 3


def test_403_is_not_retried(server, serve, zipped_idx_files, fetch):
    with pytest.raises(FetchError, match="answered 403"):
        fetch(serve("forbidden", zipped_idx_files, *[Answer(403)] * 9))
    assert len(server.asked) == 1


def test_a_short_body_for_ever_is_refused_and_not_read(serve, zipped_idx_files, fetch, tmp_path):
    name, content = next(iter(zipped_idx_files.items()))
    short = Answer(body=content[:-10], length=len(content))
    with pytest.raises(FetchError, match=name):
        fetch(serve("short", zipped_idx_files, short, short, short))
    assert [path.name for path in (tmp_path / "temporary").iterdir()] == [f"{name}.part"]


def test_a_wrong_hash_is_refused_and_leaves_nothing(serve, zipped_idx_files, fetch, tmp_path):
    with pytest.raises(FetchError, match="wrong hash"):
        fetch(serve("moved", zipped_idx_files, Answer(body=b"<html>moved</html>")))
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_unreachable_server_is_one_reason(fetch):
    with pytest.raises(FetchError, match="cannot be reached"):
        fetch("http://127.0.0.1:9/")


def test_the_next_mirror_takes_over(serve, zipped_idx_files, hashes, expected, tiny, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    faults = {
        "forbidden": [Answer(403)],
        "short": [Answer(body=b"\x1f\x8b", length=100)] * 3,
        "moved": [Answer(body=b"<html>")],
    }
    mirrors = {
        name: Mirror(serve(name, zipped_idx_files, *answers), hashes, pause_s=0)
        for name, answers in faults.items()
    }
    mirrors["good"] = Mirror(serve("good", zipped_idx_files), hashes)
    fetches = {name: mirror.fetch for name, mirror in mirrors.items()}
    source, arrays = find_mnist(own_folder=own, expected=expected, fetches=fetches)
    assert source.startswith("good, kept as")
    np.testing.assert_array_equal(arrays["x_test"], tiny["x_test"])
    assert [path.name for path in own.iterdir()] == ["mnist.npz"]


def test_the_public_mirrors_are_folders_with_sha256_hashes():
    for mirror in MIRRORS.values():
        assert mirror.url.startswith("https://")
        assert mirror.url.endswith("/")
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in mirror.files.values())
