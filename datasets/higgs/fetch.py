"""HIGGS from the UCI Machine Learning Repository."""

import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from datasets.sources import FOLDER_VARIABLE, FetchError, fetch_file
from new_algorithm.cli.errors import UserError

NAME = "HIGGS.csv.gz"
SHA256 = "ea302c18164d4e3d916a1e2e83a9a8d07069fa6ebc7771e4c0540d54e593b698"
MIRRORS = {
    "UCI's zip": "https://archive.ics.uci.edu/static/public/280/higgs.zip",
    "UCI's older address": (
        "https://archive.ics.uci.edu/ml/machine-learning-databases/00280/HIGGS.csv.gz"
    ),
}

log = logging.getLogger(__name__)


def fetch_higgs(
    folder: Path, mirrors: Mapping[str, str] = MIRRORS, *, sha256: str = SHA256
) -> Path:
    """Fetch `folder`/HIGGS.csv.gz from the first of `mirrors` (name -> URL) that has it; verify it.

    UserError if there is such a file already, if the folder cannot be written, or if every mirror
    fails: it then says what to do by hand. Nothing else is left in the folder.
    """
    target = folder / NAME
    if target.exists():
        raise UserError(f"{target}: exists already; move it away to have it fetched")
    failures = []
    for mirror, url in mirrors.items():
        log.info("HIGGS: trying %s", mirror)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching_") as temporary:
                os.replace(_fetch(url, Path(temporary), sha256), target)
        except FetchError as error:
            log.warning("HIGGS: %s failed (%s)", mirror, error)
            failures.append(f"{mirror} ({error})")
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror or error}): free some space or "
                "correct its permissions, then try again"
            ) from error
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


def _fetch(url: str, folder: Path, sha256: str) -> Path:
    if not url.endswith(".zip"):
        return fetch_file(url, folder, sha256)
    archive = fetch_file(url, folder)
    log.info("HIGGS: unpacking %s", archive.name)
    try:
        unpacked = _unpack(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise FetchError(f"{archive.name}: cannot be unpacked ({error})") from error
    with unpacked.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise FetchError(f"{archive.name}: its {NAME} has the wrong hash")
    return unpacked


def _unpack(archive: Path) -> Path:
    path = archive.with_name(NAME)
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            if PurePosixPath(member.filename).name == NAME:
                with zipped.open(member) as source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                return path
    raise FetchError(f"{archive.name}: holds no {NAME}")
