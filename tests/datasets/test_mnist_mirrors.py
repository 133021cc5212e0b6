import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from datasets.fetch_error import FetchError
from datasets.mnist_mirrors import MIRRORS, Mirror
from datasets.mnist_sources import find_mnist


class Server:
    """Answers from `answers`: path -> list of (status, body, promised length), the last stays."""

    def __init__(self, url):
        self.url = url
        self.answers = {}
        self.asked = []

    def serve(self, folder, files, *first_answers):
        for name, content in files.items():
            self.answers[f"/{folder}/{name}"] = [*first_answers, (200, content, len(content))]
        return f"{self.url}/{folder}/"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served.asked.append(self.path)
            answers = served.answers[self.path]
            status, body, length = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def hashes(zipped_idx_files):
    return {name: hashlib.sha256(gz).hexdigest() for name, gz in zipped_idx_files.items()}


@pytest.fixture
def fetch(tmp_path, hashes, expected):
    def fetch_from(url):
        (tmp_path / "temporary").mkdir(exist_ok=True)
        return Mirror(url, hashes, pause_s=0).fetch(tmp_path / "temporary", expected)

    return fetch_from


def test_the_four_files_are_fetched(server, zipped_idx_files, fetch, tiny):
    arrays = fetch(server.serve("good", zipped_idx_files))
    np.testing.assert_array_equal(arrays["x_train"], tiny["x_train"])


def test_503_twice_is_retried(server, zipped_idx_files, fetch, tiny):
    busy = (503, b"", 0)
    arrays = fetch(server.serve("busy", zipped_idx_files, busy, busy))
    np.testing.assert_array_equal(arrays["y_test"], tiny["y_test"])
    assert len(server.asked) == 3 * 4


def test_503_for_ever_is_given_up(server, zipped_idx_files, fetch):
    url = server.serve("dead", zipped_idx_files, *[(503, b"", 0)] * 9)
    with pytest.raises(FetchError, match="answered 503"):
        fetch(url)
    assert len(server.asked) == 3


def test_403_is_not_retried(server, zipped_idx_files, fetch):
    url = server.serve("forbidden", zipped_idx_files, *[(403, b"", 0)] * 9)
    with pytest.raises(FetchError, match="answered 403"):
        fetch(url)
    assert len(server.asked) == 1


def test_a_short_body_is_refused_and_leaves_nothing(server, zipped_idx_files, fetch, tmp_path):
    name, content = next(iter(zipped_idx_files.items()))
    url = server.serve("short", zipped_idx_files, (200, content[:-10], len(content)))
    with pytest.raises(FetchError, match=name):
        fetch(url)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_wrong_hash_is_refused_and_leaves_nothing(server, zipped_idx_files, fetch, tmp_path):
    content = b"<html>moved</html>"
    url = server.serve("moved", zipped_idx_files, (200, content, len(content)))
    with pytest.raises(FetchError, match="wrong hash"):
        fetch(url)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_unreachable_server_is_one_reason(fetch):
    with pytest.raises(FetchError, match="cannot be reached"):
        fetch("http://127.0.0.1:9/")


def test_the_next_mirror_takes_over(server, zipped_idx_files, hashes, expected, tiny, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    faults = {
        "forbidden": (403, b"", 0),
        "short": (200, b"\x1f\x8b", 100),
        "moved": (200, b"<html>", 6),
    }
    mirrors = {
        name: Mirror(server.serve(name, zipped_idx_files, answer), hashes, pause_s=0)
        for name, answer in faults.items()
    }
    mirrors["good"] = Mirror(server.serve("good", zipped_idx_files), hashes)
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
