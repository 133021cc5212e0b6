"""HIGGS from the UCI Machine Learning Repository."""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from datasets.download import PAUSE_S, cannot_be_written, check_room, download
from datasets.fetch_error import FetchError
from datasets.local_folders import FOLDER_VARIABLE
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress
from new_algorithm.record.files import replace_atomically

NAME = "HIGGS.csv.gz"
SHA256 = "ea302c18164d4e3d916a1e2e83a9a8d07069fa6ebc7771e4c0540d54e593b698"
MIRRORS = {
    "UCI's zip": "https://archive.ics.uci.edu/static/public/280/higgs.zip",
    "UCI's older address": (
        "https://archive.ics.uci.edu/ml/machine-learning-databases/00280/HIGGS.csv.gz"
    ),
}
TIMEOUT_S = 30.0
CHUNK = 1 << 20

log = logging.getLogger(__name__)


def fetch_higgs(
    folder: Path,
    mirrors: Mapping[str, str] = MIRRORS,
    *,
    sha256: str = SHA256,
    pause_s: float = PAUSE_S,
) -> Path:
    """`folder`/HIGGS.csv.gz, verified, from the first of `mirrors` (name -> URL) that has it.

    Nothing is fetched where the file is there already. UserError if another file has its name,
    if the folder cannot take it, or if every mirror fails: it then says what to do by hand.
    """
    target = folder / NAME
    if target.exists():
        _check_existing(target, sha256)
        return target
    failures = []
    for mirror, url in mirrors.items():
        log.info("HIGGS: trying %s", mirror)
        fetch = _fetch_zip if url.endswith(".zip") else _fetch_gzip
        try:
            fetch(url, target, sha256, pause_s)
        except FetchError as error:
            log.warning("HIGGS: %s failed (%s)", mirror, error)
            failures.append(f"{mirror} ({error})")
        else:
            log.info("HIGGS: verified, fetched from %s, kept as %s", mirror, target)
            return target
    raise UserError(f"HIGGS could not be fetched: {'; '.join(failures)}. {_by_hand(folder)}")


def _by_hand(folder: Path) -> str:
    zipped, plain = MIRRORS.values()
    return (
        f"By hand: download {zipped} and unpack it, or {plain}; put {NAME} (sha256 {SHA256}) into "
        f"{folder} or into a folder that {FOLDER_VARIABLE} names. Parts of it named HIGGS.csv.* "
        "work too. It takes 2.8 GB of free disk space, and as much again while the zip is unpacked"
    )


def _check_existing(target: Path, sha256: str) -> None:
    try:
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{target}: cannot be read ({error.strerror or error})") from error
    if found != sha256:
        raise UserError(f"{target}: not the file that UCI offers; move it away to have it fetched")


def _fetch_gzip(url: str, target: Path, sha256: str, pause_s: float) -> None:
    download(url, target, sha256, pause_s=pause_s, timeout_s=TIMEOUT_S)


def _fetch_zip(url: str, target: Path, sha256: str, pause_s: float) -> None:
    # Under a name that nobody else gives, so that it may be deleted, or taken up again where the
    # unpacking was interrupted.
    archive = target.with_name("higgs.zip.fetched")
    if not archive.exists():
        download(url, archive, pause_s=pause_s, timeout_s=TIMEOUT_S, description="higgs.zip")
    try:
        _unpack(archive, target, sha256)
    except FetchError:
        archive.unlink(missing_ok=True)
        raise
    archive.unlink(missing_ok=True)


def _unpack(archive: Path, target: Path, sha256: str) -> None:
    try:
        with zipfile.ZipFile(archive) as zipped:
            member = _find_member(zipped)
            check_room(target.parent, member.file_size, target.name)
            with zipped.open(member) as source:
                _write_verified(source, target, member.file_size, sha256)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise FetchError(f"higgs.zip: cannot be unpacked ({error})") from error


def _find_member(zipped: zipfile.ZipFile) -> zipfile.ZipInfo:
    for member in zipped.infolist():
        if PurePosixPath(member.filename).name == NAME:
            return member
    raise FetchError(f"higgs.zip: holds no {NAME}")


def _write_verified(source: BinaryIO, target: Path, size: int, sha256: str) -> None:
    try:
        with replace_atomically(target) as file:
            if _copy(source, file, size) != sha256:
                raise FetchError(f"higgs.zip: its {NAME} has the wrong hash")
    except OSError as error:
        raise cannot_be_written(target.parent, error) from error


def _copy(source: BinaryIO, file: BinaryIO, size: int) -> str:
    """The sha256 of what was copied."""
    hasher = hashlib.sha256()
    with byte_progress(f"unpacking {NAME}", size) as bar:
        for chunk in iter(partial(source.read, CHUNK), b""):
            file.write(chunk)
            hasher.update(chunk)
            bar.update(len(chunk))
    return hasher.hexdigest()
