import gzip
import hashlib
import io
import logging
import shutil
import zipfile

import numpy as np
import pytest

from datasets.higgs.mirrors import MIRRORS, SHA256, fetch_higgs
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer, resumable

CONTENT = gzip.compress(np.random.default_rng(0).bytes(100_000), mtime=0)
PAGE = b"<html>moved</html>"


def zipped(content=CONTENT, name="HIGGS.csv.gz"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "of UCI")
        archive.writestr(name, content)
    return file.getvalue()


def with_a_flipped_bit(archive):
    spoilt = bytearray(archive)
    spoilt[len(archive) // 2] ^= 1
    return bytes(spoilt)


DAMAGED_ZIPS = {
    "a page": (PAGE, "not a zip"),
    "cut short": (zipped()[:-2000], "not a zip"),
    "another member": (zipped(name="HEPMASS.csv.gz"), r"holds no HIGGS\.csv\.gz"),
    "a page as member": (zipped(PAGE), "wrong hash"),
    "a flipped bit": (with_a_flipped_bit(zipped()), "cannot be unpacked .Bad CRC"),
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def fetch(folder):
    """fetch(url, url) -> the path, from mirrors of these addresses."""

    def fetch_from(*urls):
        mirrors = {f"mirror {place}": url for place, url in enumerate(urls)}
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        return fetch_higgs(folder, mirrors, sha256=sha256, pause_s=0)

    return fetch_from


@pytest.fixture
def give_gzip(server):
    return lambda: server.give("HIGGS.csv.gz", resumable(CONTENT))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_fetched(path, folder):
    assert path == folder / "HIGGS.csv.gz"
    assert path.read_bytes() == CONTENT
    assert names(folder) == ["HIGGS.csv.gz"]


@pytest.mark.parametrize("name", ["HIGGS.csv.gz", "higgs/HIGGS.csv.gz"])
def test_the_zip_is_unpacked_and_deleted(server, fetch, folder, caplog, name):
    caplog.set_level(logging.INFO)
    assert_fetched(fetch(server.give("higgs.zip", resumable(zipped(name=name)))), folder)
    assert "trying mirror 0" in caplog.text
    assert "verified, fetched from mirror 0" in caplog.text


def test_the_plain_file_is_fetched(fetch, folder, give_gzip):
    assert_fetched(fetch(give_gzip()), folder)


@pytest.mark.parametrize("status", [403, 503])
def test_a_mirror_that_refuses_is_followed_by_the_next(
    server, fetch, folder, give_gzip, caplog, status
):
    assert_fetched(fetch(server.give("higgs.zip", Answer(status)), give_gzip()), folder)
    [line] = [record.getMessage() for record in caplog.records]
    assert line == f"HIGGS: mirror 0 failed (higgs.zip: the server answered {status})"


@pytest.mark.parametrize("kind", DAMAGED_ZIPS)
def test_a_damaged_zip_is_deleted_and_the_next_mirror_asked(
    server, fetch, folder, give_gzip, caplog, kind
):
    archive, reason = DAMAGED_ZIPS[kind]
    assert_fetched(fetch(server.give("higgs.zip", resumable(archive)), give_gzip()), folder)
    assert caplog.records[0].getMessage().startswith("HIGGS: mirror 0 failed (higgs.zip: ")
    caplog.clear()
    (folder / "HIGGS.csv.gz").unlink()
    with pytest.raises(UserError, match=f"mirror 0 .*{reason}"):
        fetch(f"{server.url}/higgs.zip")
    assert names(folder) == []


def test_a_page_instead_of_the_plain_file_is_refused(server, fetch, folder):
    with pytest.raises(UserError, match="wrong hash"):
        fetch(server.give("HIGGS.csv.gz", Answer(body=PAGE)))
    assert names(folder) == []


def test_when_all_fail_one_line_says_why_and_what_to_do(server, fetch, folder):
    forbidden = server.give("higgs.zip", Answer(403)), "http://127.0.0.1:9/HIGGS.csv.gz"
    with pytest.raises(UserError) as failure:
        fetch(*forbidden)
    message = str(failure.value)
    assert "mirror 0 (higgs.zip: the server answered 403); mirror 1 (the server cannot" in message
    for needed in (*MIRRORS.values(), SHA256, str(folder), "HIGGS.csv.*", "2.8 GB"):
        assert needed in message
    assert "\n" not in message


def test_what_broke_off_is_continued_by_the_next_call(server, fetch, folder):
    archive = zipped()
    short = Answer(body=archive[:5000], length=len(archive))
    url = server.give("higgs.zip", short, short, short, resumable(archive))
    with pytest.raises(UserError, match="broke off"):
        fetch(url)
    assert_fetched(fetch(url), folder)
    assert server.ranges[-1] == "bytes=5000-"


def test_interrupted_unpacking_needs_no_second_download(server, fetch, folder, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    url = server.give("higgs.zip", resumable(zipped()))
    with monkeypatch.context() as patch:
        patch.setattr("datasets.higgs.mirrors._copy", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(url)
    assert names(folder) == ["higgs.zip.fetched"]
    assert_fetched(fetch(url), folder)
    assert len(server.asked) == 1


def test_too_little_room_to_unpack_is_refused(server, fetch, folder, monkeypatch):
    url = server.give("higgs.zip", resumable(zipped()))
    rooms = iter([10**9, len(CONTENT) - 1])  # before the download, and after it
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(rooms)))
    with pytest.raises(UserError, match=r"HIGGS\.csv\.gz needs .*free some space"):
        fetch(url)
    assert names(folder) == ["higgs.zip.fetched"]


def test_a_full_disk_while_unpacking_is_one_clear_line(server, fetch, folder, monkeypatch):
    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.higgs.mirrors._copy", full_disk)
    with pytest.raises(UserError, match=f"^{folder} cannot be written .No space left"):
        fetch(server.give("higgs.zip", resumable(zipped())))
    assert names(folder) == ["higgs.zip.fetched"]


def test_a_folder_that_cannot_take_it_stops_the_search(server, folder, give_gzip):
    mirrors = {"a": server.give("higgs.zip", resumable(zipped())), "b": give_gzip()}
    with pytest.raises(UserError, match="missing cannot be written"):
        fetch_higgs(folder / "missing", mirrors)
    assert server.asked == []


def test_what_is_there_is_verified_and_not_fetched_again(fetch, folder):
    (folder / "HIGGS.csv.gz").write_bytes(CONTENT)
    assert_fetched(fetch("http://127.0.0.1:9/higgs.zip"), folder)


def test_another_file_of_that_name_is_never_replaced(server, fetch, folder, give_gzip):
    (folder / "HIGGS.csv.gz").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"HIGGS\.csv\.gz: not the file that UCI offers; move it"):
        fetch(give_gzip())
    assert (folder / "HIGGS.csv.gz").read_bytes() == b"mine"
    assert server.asked == []


def test_the_public_mirrors_are_a_zip_and_the_file_itself():
    assert [url.rpartition("/")[2] for url in MIRRORS.values()] == ["higgs.zip", "HIGGS.csv.gz"]
    assert all(url.startswith("https://archive.ics.uci.edu/") for url in MIRRORS.values())
    assert len(bytes.fromhex(SHA256)) == 32
