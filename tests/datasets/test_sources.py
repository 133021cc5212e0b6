import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from datasets import sources
from datasets.sources import fetch_file, folders_to_search
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

CONTENT = np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GOOD = Answer(body=CONTENT)
SHORT = Answer(body=CONTENT[:1000], length=len(CONTENT))
BUSY = Answer(503)
PAGE = Answer(body=b"<html>moved</html>")


def assert_fetched(folder):
    (path,) = folder.iterdir()
    assert (path.name, path.read_bytes()) == ("file.gz", CONTENT)


def test_a_file_is_fetched_with_one_request_and_readable_by_all(server, tmp_path):
    path = fetch_file(server.give("file.gz", GOOD), tmp_path, SHA256)
    assert_fetched(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert server.asked == ["/file.gz"]


@pytest.mark.parametrize("fault", [SHORT, BUSY, PAGE], ids=["short body", "503", "wrong hash"])
def test_what_a_server_may_get_over_is_tried_again(server, tmp_path, fault):
    fetch_file(server.give("file.gz", fault, fault, GOOD), tmp_path, SHA256)
    assert_fetched(tmp_path)
    assert server.pauses == [1, 2]


FAULTS = {
    "503": (BUSY, r"^file\.gz: the server answered 503$", 3),
    "403": (Answer(403), r"^file\.gz: the server answered 403$", 1),
    "404": (Answer(404), "answered 404", 1),
    "short body": (SHORT, r"^file\.gz: the download failed", 3),
    "wrong hash": (PAGE, r"^file\.gz: the file sent has the wrong hash$", 3),
    "nothing": (Answer(204), "wrong hash", 3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_one_reason_and_leaves_nothing(server, tmp_path, fault):
    answer, reason, requests = FAULTS[fault]
    with pytest.raises(UserError, match=reason) as failure:
        fetch_file(server.give("file.gz", answer), tmp_path, SHA256)
    assert "\n" not in str(failure.value)
    assert len(server.asked) == requests
    assert list(tmp_path.iterdir()) == []


def test_a_short_body_is_seen_without_a_hash(server, tmp_path):
    with pytest.raises(UserError, match="failed"):
        fetch_file(server.give("file.gz", SHORT), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_one_reason(server, tmp_path):
    with pytest.raises(UserError, match=r"^file\.gz: the server cannot be reached$"):
        fetch_file("http://127.0.0.1:9/file.gz", tmp_path)
    assert server.pauses == []


def test_a_silent_server_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.gz"
        with pytest.raises(UserError, match="cannot be reached"):
            fetch_file(url, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_os_error(server, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OSError, match="denied"):
        fetch_file(server.give("file.gz", GOOD), tmp_path, SHA256)
    tmp_path.chmod(0o755)


def test_folders_are_searched_in_order_and_named_without_their_paths(monkeypatch, own):
    named = Path("named")
    assert folders_to_search(None) == [(own, "datasets/")]
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", "named")
    words = "the folder named by BACK_PROJECTION_DATASETS"
    assert folders_to_search(None) == [(named, words), (own, "datasets/")]
    assert folders_to_search(named) == [(named, "the folder named by --data-dir")]
