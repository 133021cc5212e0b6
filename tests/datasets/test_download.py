import fcntl
import gzip
import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datasets.download import download
from datasets.fetch_error import FetchError
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer, part_of, resumable

REPOSITORY = Path(__file__).resolve().parents[2]
CONTENT = np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHORT = Answer(body=CONTENT[:1000], length=len(CONTENT))
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)
OF_CHUNKS = {"Transfer-Encoding": "chunked", "Content-Length": None}
BUSY = Answer(503)
PAGE = Answer(body=b"<html>moved</html>")


@pytest.fixture
def folder(tmp_path):
    """Where the file goes; an older one of its name is there already."""
    (tmp_path / "file.gz").write_bytes(b"older")
    return tmp_path


@pytest.fixture
def fetch(folder):
    def fetch_from(url, sha256=SHA256, **options):
        download(url, folder / "file.gz", sha256, pause_s=0, **options)

    return fetch_from


@pytest.fixture
def part(folder):
    return folder / "file.gz.part"


@pytest.fixture
def silent_url():
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/file"


@pytest.fixture
def set_room(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    return lambda room: monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=room)
    )


def assert_fetched(folder):
    assert (folder / "file.gz").read_bytes() == CONTENT
    assert names(folder) == ["file.gz"]


def assert_untouched(folder, *others):
    assert (folder / "file.gz").read_bytes() == b"older"
    assert names(folder) == ["file.gz", *others]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_with_one_request(server, fetch, folder):
    fetch(server.give("file", Answer(body=CONTENT)))
    assert_fetched(folder)
    assert server.ranges == [None]


def test_without_a_hash_and_a_length_whatever_comes_is_taken(server, fetch, folder):
    fetch(server.give("file", Answer(body=CHUNKED, headers=OF_CHUNKS)), sha256=None)
    assert_fetched(folder)


def test_a_cut_is_seen_without_a_hash_and_a_length(server, fetch, folder, part):
    with pytest.raises(FetchError, match="broke off"):
        fetch(server.give("file", Answer(body=CHUNKED[:-999], headers=OF_CHUNKS)), sha256=None)
    assert_untouched(folder, part.name)


def test_the_bytes_are_asked_for_as_they_lie(server, fetch):
    fetch(server.give("file", Answer(body=CONTENT)))
    [(_, headers)] = server.asked
    assert headers["Accept-Encoding"] == "identity"


def test_bytes_are_kept_as_sent_where_gzip_is_declared_an_encoding(server, fetch, folder):
    zipped = gzip.compress(CONTENT)
    url = server.give("file", Answer(body=zipped, headers={"Content-Encoding": "gzip"}))
    fetch(url, hashlib.sha256(zipped).hexdigest())
    assert (folder / "file.gz").read_bytes() == zipped


def test_a_short_body_is_resumed_where_it_broke_off(server, fetch, folder):
    fetch(server.give("file", SHORT, resumable(CONTENT)))
    assert_fetched(folder)
    assert server.ranges == [None, "bytes=1000-"]


def test_a_short_body_for_ever_is_given_up_and_its_bytes_wait(server, fetch, folder, part):
    url = server.give("file", SHORT)
    with pytest.raises(FetchError, match=r"^file\.gz: the answer broke off$"):
        fetch(url)
    assert len(server.asked) == 3
    assert_untouched(folder, part.name)
    assert part.read_bytes() == CONTENT[:1000]


def test_an_answer_in_instalments_is_put_together(server, fetch, folder):
    sent = {"Content-Range": f"bytes 1000-1999/{len(CONTENT)}"}
    instalment = Answer(206, CONTENT[1000:2000], headers=sent)
    fetch(server.give("file", SHORT, instalment, resumable(CONTENT)), sha256=None)
    assert_fetched(folder)
    assert server.ranges == [None, "bytes=1000-", "bytes=2000-"]


def test_a_part_of_an_earlier_call_is_continued(server, fetch, folder, part):
    part.write_bytes(CONTENT[:150_000])
    fetch(server.give("file", resumable(CONTENT)))
    assert_fetched(folder)
    assert server.ranges == ["bytes=150000-"]


def test_a_server_that_ignores_range_starts_again(server, fetch, folder, part):
    part.write_bytes(CONTENT[:150_000])
    fetch(server.give("file", Answer(body=CONTENT)))
    assert_fetched(folder)
    assert server.ranges == ["bytes=150000-"]


def test_another_range_than_asked_for_is_not_appended(server, fetch, folder, part):
    part.write_bytes(CONTENT[:1000])
    fetch(server.give("file", part_of(CONTENT, 999), resumable(CONTENT)), sha256=None)
    assert_fetched(folder)
    assert server.ranges == ["bytes=1000-", None]


def test_a_range_that_is_not_declared_is_not_appended(server, fetch, folder, part):
    part.write_bytes(CONTENT[:1000])
    fetch(server.give("file", Answer(206, CONTENT[1000:]), resumable(CONTENT)), sha256=None)
    assert_fetched(folder)
    assert server.ranges == ["bytes=1000-", None]


def test_a_part_that_is_complete_needs_no_byte_more(server, fetch, folder, part):
    part.write_bytes(CONTENT)
    fetch(server.give("file", resumable(CONTENT)))
    assert_fetched(folder)
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_too_long_is_dropped(server, fetch, folder, part):
    part.write_bytes(CONTENT + b"more")
    fetch(server.give("file", resumable(CONTENT)), sha256=None)
    assert_fetched(folder)
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_416_for_ever_is_given_up(server, fetch, folder, part):
    part.write_bytes(CONTENT)
    with pytest.raises(FetchError, match="answered 416"):
        fetch(server.give("file", Answer(416)))
    assert len(server.asked) == 3
    assert_untouched(folder)


def test_a_part_of_another_file_costs_one_more_download(server, fetch, folder, part):
    part.write_bytes(b"another file's first bytes")
    fetch(server.give("file", resumable(CONTENT)))
    assert_fetched(folder)
    assert server.ranges == ["bytes=26-", None]


def test_a_wrong_hash_is_refused_at_once_and_leaves_nothing(server, fetch, folder):
    with pytest.raises(FetchError, match=r"^file\.gz: the file sent has the wrong hash$"):
        fetch(server.give("file", PAGE))
    assert len(server.asked) == 1
    assert_untouched(folder)


def test_a_wrong_hash_after_resuming_is_refused_the_second_time(server, fetch, folder, part):
    part.write_bytes(b"<html>")
    with pytest.raises(FetchError, match="wrong hash"):
        fetch(server.give("file", resumable(PAGE.body)))
    assert server.ranges == ["bytes=6-", None]
    assert_untouched(folder)


def test_503_twice_is_retried(server, fetch, folder):
    fetch(server.give("file", BUSY, BUSY, resumable(CONTENT)))
    assert_fetched(folder)


def test_pauses_are_doubled(server, folder, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    download(server.give("file", BUSY, BUSY, resumable(CONTENT)), folder / "file.gz", pause_s=3)
    assert pauses == [3, 6]


def test_503_for_ever_is_given_up(server, fetch, folder):
    with pytest.raises(FetchError, match=r"^file\.gz: the server answered 503$"):
        fetch(server.give("file", BUSY))
    assert len(server.asked) == 3
    assert_untouched(folder)


@pytest.mark.parametrize("status", [204, 304, 403, 404, 429])
def test_another_status_is_not_retried_and_the_part_waits(server, fetch, folder, part, status):
    part.write_bytes(CONTENT[:10])
    with pytest.raises(FetchError, match=f"answered {status}"):
        fetch(server.give("file", Answer(status)))
    assert len(server.asked) == 1
    assert_untouched(folder, part.name)


def test_an_unreachable_server_is_one_reason(fetch, folder):
    with pytest.raises(FetchError, match=r"^the server cannot be reached$"):
        fetch("http://127.0.0.1:9/file")
    assert_untouched(folder)


def test_an_address_that_is_none_is_one_reason(fetch, folder):
    with pytest.raises(FetchError, match=r"^file\.gz: the request failed"):
        fetch("http://")
    assert_untouched(folder)


def test_no_answer_in_time_is_one_reason(fetch, folder, silent_url):
    with pytest.raises(FetchError, match=r"^file\.gz: no answer within 0\.05 s$"):
        fetch(silent_url, timeout_s=0.05)
    assert_untouched(folder)


def test_a_body_that_stops_coming_is_resumed(server, fetch, folder):
    stalled = Answer(body=CONTENT[:70_000], length=len(CONTENT), hang=True)
    fetch(server.give("file", stalled, resumable(CONTENT)), timeout_s=0.2)
    assert_fetched(folder)
    assert server.ranges == [None, "bytes=65536-"]  # whole chunks of it


def test_an_interrupted_download_is_resumed_by_the_next_call(server, fetch, folder, part):
    stalled = Answer(body=CONTENT[:70_000], length=len(CONTENT), hang=True)
    url = server.give("file", stalled, resumable(CONTENT))
    code = "import sys, pathlib; from datasets.download import download;"
    code += "download(sys.argv[1], pathlib.Path(sys.argv[2]), timeout_s=60)"
    command = [sys.executable, "-c", code, url, str(folder / "file.gz")]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        while not (part.exists() and part.stat().st_size >= 65536):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    assert_untouched(folder, part.name)
    fetch(url)
    assert_fetched(folder)
    assert server.ranges == [None, "bytes=65536-"]


def test_a_second_process_is_refused(server, fetch, folder, part):
    part.write_bytes(CONTENT[:10])
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"file\.gz\.part: another process"):
            fetch(server.give("file", resumable(CONTENT)))
    assert server.asked == []
    assert_untouched(folder, part.name)


def test_a_part_that_was_finished_meanwhile_is_not_written_to(
    server, fetch, folder, part, monkeypatch
):
    def finish_and_lock(file, operation):
        part.rename(folder / "file.gz")

    part.write_bytes(CONTENT)
    monkeypatch.setattr(fcntl, "flock", finish_and_lock)
    with pytest.raises(UserError, match="another process"):
        fetch(server.give("file", Answer(body=b"other")))
    assert_fetched(folder)


def test_too_little_room_is_refused_before_a_byte_is_written(server, fetch, folder, set_room):
    set_room(len(CONTENT) - 1)
    url = server.give("file", resumable(CONTENT))
    with pytest.raises(UserError, match=f"{folder}: file.gz needs .* GB there, .*free some space"):
        fetch(url)
    assert_untouched(folder)


def test_what_has_come_needs_no_room_again(server, fetch, folder, part, set_room):
    part.write_bytes(CONTENT[:1])
    set_room(len(CONTENT) - 1)
    fetch(server.give("file", resumable(CONTENT)))
    assert_fetched(folder)


def test_a_full_disk_is_one_clear_line(server, fetch, folder, part):
    url = server.give("file", resumable(CONTENT))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=f"^{folder} cannot be written .*free some space"):
            fetch(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_untouched(folder, part.name)
    fetch(url)
    assert_fetched(folder)
    assert server.ranges[1] is not None


def test_a_folder_that_cannot_be_written_is_one_clear_line(server, fetch, folder):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder.chmod(0o555)
    try:
        with pytest.raises(UserError, match=f"^{folder} cannot be written .*mend its permissions"):
            fetch(server.give("file", resumable(CONTENT)))
    finally:
        folder.chmod(0o755)
    assert_untouched(folder)


def test_a_missing_folder_is_one_clear_line(server, folder):
    with pytest.raises(UserError, match="missing cannot be written"):
        download(server.give("file", resumable(CONTENT)), folder / "missing" / "file.gz")
    assert server.asked == []
