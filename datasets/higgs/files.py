"""HIGGS: found in a folder, as one file or in parts, or fetched from UCI, and read once."""

import hashlib
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from datasets import sources
from datasets.dataset import Dataset, Split
from datasets.higgs.cache import Origin, load_cached
from datasets.higgs.csv_rows import read_blocks
from datasets.sources import (
    FOLDER_VARIABLE,
    fetch_file,
    fetch_first,
    folders_to_search,
    name_of_parts,
)
from new_algorithm.cli.errors import UserError

log = logging.getLogger(__name__)

WHOLE = ("HIGGS.csv", "HIGGS.csv.gz")  # looked for everywhere before a sample is
SAMPLE = ("HIGGS_sample*.csv.gz", "HIGGS_sample*.csv")
# HIGGS.csv.1, HIGGS.csv.gz.00, HIGGS.csv.part-3.gz, or with the letters of `split`, HIGGS.csv.gz.aa
PART = re.compile(r"(HIGGS\.csv(?:\.gz)?\.(?:part[-_.]?)?)(\d+|(?!gz|xz)[a-z]{2})((?:\.gz)?)")
CITATION = (
    "Baldi, Sadowski, Whiteson, Nature Communications 5:4308, 2014; UCI HIGGS data set, CC BY 4.0"
)

FETCHED = "HIGGS.csv.gz"
SHA256 = "ea302c18164d4e3d916a1e2e83a9a8d07069fa6ebc7771e4c0540d54e593b698"
ZIP_URL = "https://archive.ics.uci.edu/static/public/280/higgs.zip"
FILE_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00280/HIGGS.csv.gz"
MIRRORS = {"UCI's zip": ZIP_URL, "UCI's older address": FILE_URL}


def load_higgs(data_dir: Path | None, split: Split) -> Dataset:
    """The first HIGGS found: 28 features of a collision, label 1 for a Higgs boson.

    The csv is read once, into a cache; the arrays are read-only maps of it, whose rows are in
    memory only while they are used.
    """
    origin = locate_higgs(data_dir)
    return load_cached(origin, split, "higgs", f"{origin.words} ({CITATION})")


def find_higgs(data_dir: Path | None = None) -> Path | None:
    """The file that `load_higgs` would read, or its first part, or None; it is not opened."""
    found = _find(data_dir)
    return None if found is None else found[0][0]


def locate_higgs(data_dir: Path | None = None) -> Origin:
    """What `load_higgs` reads, told from others by names, sizes and times of change.

    UserError if it is in none of the folders, or a part is missing. An explicit `data_dir` is
    searched alone.
    """
    found = _find(data_dir)
    if found is None:
        searched = " or ".join(str(folder) for folder, _ in folders_to_search(data_dir))
        raise UserError(
            f"no HIGGS in {searched}: put HIGGS.csv.gz (the UCI HIGGS data set) there, let "
            f"./starter --data higgs fetch it, or let --data-dir or {FOLDER_VARIABLE} name its "
            "folder"
        )
    parts, where = found
    _check_parts(parts)
    name, identity = name_of_parts(parts), _identity(parts)
    resolved = hashlib.sha256(str(parts[0].resolve()).encode()).hexdigest()
    return Origin(
        title="HIGGS",
        words=f"{name} in {where}",
        path=parts[0],
        key=f"{parts[0].name}-{resolved[:8]}",
        identity=identity,
        making=f"reading {name}",
        changed=f"{'one of ' if len(parts) > 1 else ''}{name} has changed",
        read=partial(_read, parts, identity),
    )


def _find(data_dir: Path | None) -> tuple[list[Path], str] | None:
    """The file or its parts in order, and the words for its folder.

    A whole file of any folder comes before parts of one there, and both before a sample.
    """
    for candidates in (_whole, _sample):
        for folder, where in folders_to_search(data_dir):
            try:
                parts = next(candidates(folder), None)
            except OSError as error:
                raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
            if parts is not None:
                return parts, where
    return None


def _whole(folder: Path) -> Iterator[list[Path]]:
    yield from ([folder / name] for name in WHOLE if (folder / name).is_file())
    by_kind: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob("HIGGS.csv.*")):
        if (match := PART.fullmatch(path.name)) and path.is_file():
            by_kind.setdefault((match[1], match[3]), []).append(path)
    for kind in sorted(by_kind):
        yield sorted(by_kind[kind], key=_place)


def _sample(folder: Path) -> Iterator[list[Path]]:
    for pattern in SAMPLE:
        yield from ([path] for path in sorted(folder.glob(pattern)) if path.is_file())


def _place(part: Path) -> int:
    """The number in a part's name; letters count from aa, which is 0, as does what is no part."""
    match = PART.fullmatch(part.name)
    place = match[2] if match else "0"
    if place.isdigit():
        return int(place)
    return 26 * (ord(place[0]) - ord("a")) + ord(place[1]) - ord("a")


def _check_parts(parts: list[Path]) -> None:
    for expected, part in enumerate(parts, start=min(_place(parts[0]), 1)):
        if (place := _place(part)) != expected:
            fault = "a part before it is missing" if place > expected else "there are two of it"
            raise UserError(f"{part}: {fault}; put all parts there, each once and nothing else")


def _identity(parts: Sequence[Path]) -> dict[str, Any]:
    try:
        stats = [(part.name, part.stat()) for part in parts]
    except OSError as error:
        raise UserError(f"{parts[0]}: cannot be read ({error.strerror or error})") from error
    return {"files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]}


def _read(parts: list[Path], identity: dict[str, Any]) -> Iterator[tuple[NDArray, NDArray]]:
    yield from read_blocks(parts)
    if _identity(parts) != identity:
        raise UserError(f"{parts[0]}: it changed while it was read; try again once it is whole")


def fetch_higgs(data_dir: Path | None = None) -> None:
    """Fetch HIGGS.csv.gz into `data_dir`, or `datasets/`, from the first mirror that has it.

    UserError if there is such a file already, if the folder cannot be written, or if every mirror
    fails: it then says what to do by hand. Nothing else is left in the folder.
    """
    target = sources.place_for(FETCHED, data_dir)
    folder = target.parent
    by_hand = (
        f"By hand: download {ZIP_URL} and unpack it, or {FILE_URL}; put {FETCHED} (sha256 {SHA256})"
        f" into {folder} or into a folder that {FOLDER_VARIABLE} names. Parts of it named "
        "HIGGS.csv.* work too. It takes 2.8 GB of free disk space, and as much again while the zip "
        "is unpacked"
    )
    fetches = {mirror: partial(_fetch, url, target) for mirror, url in MIRRORS.items()}
    mirror, _ = fetch_first("HIGGS", fetches, by_hand, folder)
    log.info("HIGGS: verified, fetched from %s, kept as %s", mirror, target)


def _fetch(url: str, target: Path, temporary: Path) -> None:
    if url.endswith(".zip"):
        os.replace(_unpack(fetch_file(url, temporary)), target)
    else:
        os.replace(fetch_file(url, temporary, SHA256), target)


def _unpack(archive: Path) -> Path:
    log.info("HIGGS: unpacking %s", archive.name)
    try:
        with zipfile.ZipFile(archive) as zipped:
            names = [name for name in zipped.namelist() if PurePosixPath(name).name == FETCHED]
            if not names:
                raise UserError(f"{archive.name}: holds no {FETCHED}")
            path = Path(zipped.extract(names[0], archive.parent))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(f"{archive.name}: cannot be unpacked ({error})") from error
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise UserError(f"{archive.name}: its {FETCHED} has the wrong hash")
    return path
