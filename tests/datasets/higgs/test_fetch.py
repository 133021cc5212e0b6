import gzip
import hashlib
import io
import logging
import os
import zipfile

import numpy as np
import pytest

from datasets.higgs import files
from datasets.higgs.files import MIRRORS, SHA256, fetch_higgs
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

CONTENT = gzip.compress(np.random.default_rng(0).bytes(100_000), mtime=0)
PAGE = b"<html>moved</html>"
CLOSED = "http://127.0.0.1:9/HIGGS.csv.gz"


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
def fetch(server, tmp_path, monkeypatch):
    """fetch(url, url) -> the path, from mirrors of these addresses."""
    monkeypatch.setattr(files, "SHA256", hashlib.sha256(CONTENT).hexdigest())

    def fetch_from(*urls, folder=tmp_path):
        mirrors = {f"mirror {place}": url for place, url in enumerate(urls)}
        monkeypatch.setattr(files, "MIRRORS", mirrors)
        fetch_higgs(folder)
        return folder / "HIGGS.csv.gz"

    return fetch_from


@pytest.fixture
def plain_url(server):
    return server.give("HIGGS.csv.gz", Answer(body=CONTENT))


def assert_fetched(path, folder):
    assert path == folder / "HIGGS.csv.gz"
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("name", ["HIGGS.csv.gz", "higgs/HIGGS.csv.gz"])
def test_the_zip_is_unpacked_and_deleted(server, fetch, tmp_path, caplog, name):
    caplog.set_level(logging.INFO, "datasets")
    assert_fetched(fetch(server.give("higgs.zip", Answer(body=zipped(name=name)))), tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "HIGGS: trying mirror 0"
    assert lines[-1].startswith("HIGGS: verified, fetched from mirror 0")


@pytest.mark.parametrize("status", [403, 503])
def test_a_mirror_that_refuses_is_followed_by_the_next(
    server, fetch, tmp_path, plain_url, caplog, status
):
    caplog.set_level(logging.WARNING, "datasets")
    assert_fetched(fetch(server.give("higgs.zip", Answer(status)), plain_url), tmp_path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"HIGGS: mirror 0 failed (higgs.zip: the server answered {status})"


@pytest.mark.parametrize("kind", DAMAGED_ZIPS)
def test_a_damaged_zip_is_deleted_and_the_next_mirror_asked(
    server, fetch, tmp_path, plain_url, caplog, kind
):
    caplog.set_level(logging.WARNING, "datasets")
    archive, reason = DAMAGED_ZIPS[kind]
    zip_url = server.give("higgs.zip", Answer(body=archive))
    assert_fetched(fetch(zip_url, plain_url), tmp_path)
    assert caplog.records[0].getMessage().startswith("HIGGS: mirror 0 failed (higgs.zip: ")
    (tmp_path / "HIGGS.csv.gz").unlink()
    with pytest.raises(UserError, match=f"mirror 0 .*{reason}"):
        fetch(zip_url)
    assert list(tmp_path.iterdir()) == []


def test_when_all_fail_one_line_says_why_and_what_to_do(server, fetch, tmp_path):
    page = server.give("moved/HIGGS.csv.gz", Answer(body=PAGE))
    with pytest.raises(UserError) as failure:
        fetch(server.give("higgs.zip", Answer(403)), CLOSED, page)
    message = str(failure.value)
    assert "mirror 0 (higgs.zip: the server answered 403); mirror 1 (HIGGS.csv.gz: the" in message
    assert "mirror 2 (HIGGS.csv.gz: the file sent has the wrong hash)" in message
    for needed in (*MIRRORS.values(), files.SHA256, str(tmp_path), "HIGGS.csv.*", "2.8 GB"):
        assert needed in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_unpacking_leaves_nothing(server, fetch, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("shutil.copyfileobj", fail)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as failure:
        fetch(server.give("higgs.zip", Answer(body=zipped())))
    if expected is UserError:
        assert str(failure.value).startswith(f"{tmp_path} cannot be written (No space left on")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_stops_the_search(server, fetch, tmp_path, plain_url):
    with pytest.raises(UserError, match=r"missing cannot be written .*free some space"):
        fetch(plain_url, CLOSED, folder=tmp_path / "missing")
    if os.geteuid() != 0:
        tmp_path.chmod(0o555)
        with pytest.raises(UserError, match="denied"):
            fetch(plain_url)
        tmp_path.chmod(0o755)
    assert server.asked == []


def test_a_file_of_that_name_is_never_replaced(server, fetch, tmp_path, plain_url):
    (tmp_path / "HIGGS.csv.gz").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"HIGGS\.csv\.gz: exists already; move it away"):
        fetch(plain_url)
    assert (tmp_path / "HIGGS.csv.gz").read_bytes() == b"mine"
    assert server.asked == []


def test_the_public_mirrors_are_a_zip_and_the_file_itself():
    assert [url.rpartition("/")[2] for url in MIRRORS.values()] == ["higgs.zip", "HIGGS.csv.gz"]
    assert all(url.startswith("https://archive.ics.uci.edu/") for url in MIRRORS.values())
    assert len(bytes.fromhex(SHA256)) == 32
