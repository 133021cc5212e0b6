"""HIGGS: found in the user's folder or in this one, as one file or in parts, and read once."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from datasets.dataset import Dataset
from datasets.gzip_files import name_of_parts
from datasets.higgs.cache import Origin, dataset_of, open_rows
from datasets.higgs.csv_rows import read_blocks
from datasets.sources import FOLDER_VARIABLE, OWN_FOLDER, folders_to_search
from datasets.splits import Split
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress

WHOLE = ("HIGGS.csv", "HIGGS.csv.gz")  # looked for everywhere before a sample is
SAMPLE = ("HIGGS_sample*.csv.gz", "HIGGS_sample*.csv")
# HIGGS.csv.1, HIGGS.csv.gz.00, HIGGS.csv.part-3.gz, or with the letters of `split`, HIGGS.csv.gz.aa
PART = re.compile(r"(HIGGS\.csv(?:\.gz)?\.(?:part[-_.]?)?)(\d+|(?!gz|xz)[a-z]{2})((?:\.gz)?)")
CITATION = (
    "Baldi, Sadowski, Whiteson, Nature Communications 5:4308, 2014; UCI HIGGS data set, CC BY 4.0"
)


@dataclass(frozen=True)
class HiggsSource:
    """One csv file, gzipped or not, or the parts of one in their order.

    where: the folder, in words that name none of this machine.
    """

    parts: tuple[Path, ...]
    where: str

    @property
    def path(self) -> Path:
        """The file, or the first part."""
        return self.parts[0]

    @property
    def name(self) -> str:
        """What records and messages call it."""
        return name_of_parts(self.parts)

    @property
    def is_sample(self) -> bool:
        return not self.path.name.startswith("HIGGS.csv")

    def __str__(self) -> str:
        return f"{self.name} in {self.where}"


def find_higgs(data_dir: Path | None = None, *, own_folder: Path = OWN_FOLDER) -> Path | None:
    """The file that `load_higgs` would read, or its first part, or None; it is not opened."""
    found = find_source(data_dir, own_folder=own_folder)
    return None if found is None else found.path


def locate_higgs(data_dir: Path | None = None, *, own_folder: Path = OWN_FOLDER) -> HiggsSource:
    """What `load_higgs` reads; UserError if it is in none of the folders, or a part is missing.

    An explicit `data_dir` is searched alone.
    """
    found = find_source(data_dir, own_folder=own_folder)
    if found is None:
        searched = " or ".join(str(folder) for folder, _ in folders_to_search(data_dir, own_folder))
        raise UserError(
            f"no HIGGS in {searched}: put HIGGS.csv.gz (the UCI HIGGS data set) there, let "
            f"./starter --data higgs fetch it, or let --data-dir or {FOLDER_VARIABLE} name its "
            "folder"
        )
    _check_parts(found.parts)
    return found


def find_source(
    data_dir: Path | None = None, *, own_folder: Path = OWN_FOLDER
) -> HiggsSource | None:
    """A whole file of any folder before parts of one there, and both before a sample."""
    for candidates in (_whole, _sample):
        for folder, where in folders_to_search(data_dir, own_folder):
            try:
                parts = next((parts for parts in candidates(folder) if parts), None)
            except OSError as error:
                raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
            if parts:
                return HiggsSource(parts, where)
    return None


def _whole(folder: Path) -> Iterator[tuple[Path, ...]]:
    for name in WHOLE:
        yield _files([folder / name])
    by_kind: dict[tuple[str, str], list[Path]] = {}
    for path in _files(sorted(folder.glob("HIGGS.csv.*"))):
        if match := PART.fullmatch(path.name):
            by_kind.setdefault((match[1], match[3]), []).append(path)
    for kind in sorted(by_kind):
        yield tuple(sorted(by_kind[kind], key=_place))


def _sample(folder: Path) -> Iterator[tuple[Path, ...]]:
    for pattern in SAMPLE:
        yield _files(sorted(folder.glob(pattern)))[:1]


def _files(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(path for path in paths if path.is_file())


def _place(part: Path) -> int:
    """The number in a part's name; letters count from aa, which is 0."""
    match = PART.fullmatch(part.name)
    digits = match[2] if match else "0"
    if digits.isdigit():
        return int(digits)
    return 26 * (ord(digits[0]) - ord("a")) + ord(digits[1]) - ord("a")


def _check_parts(parts: tuple[Path, ...]) -> None:
    if len(parts) == 1 and not PART.fullmatch(parts[0].name):
        return
    places = [_place(part) for part in parts]
    if places[0] > 1:
        raise UserError(f"{parts[0]}: the parts before it are missing; put all into that folder")
    for before, after, part in zip(places, places[1:], parts[1:], strict=False):
        if after != before + 1:
            fault = "the part before it is missing" if after > before else "there are two of it"
            raise UserError(f"{part}: {fault}; put all parts there, each once and nothing else")


def load_higgs(data_dir: Path | None, split: Split, cache_dir: Path | None = None) -> Dataset:
    """The first HIGGS found: 28 features of a collision, label 1 for a Higgs boson.

    The csv is read once, into a cache; the arrays are read-only maps of it, whose rows are in
    memory only while they are used.
    """
    source = locate_higgs(data_dir)
    rows = open_rows(csv_origin(source), cache_dir)
    return dataset_of(rows, split, "higgs", f"{source} ({CITATION})")


def count_higgs_training_rows(data_dir: Path | None, cache_dir: Path | None = None) -> int:
    """Rows before the test set; the file is read now if it was not before."""
    return len(open_rows(csv_origin(locate_higgs(data_dir)), cache_dir).parts["y_train"])


def csv_origin(source: HiggsSource) -> Origin:
    """The file or its parts, told from others by names, sizes and times of change."""
    resolved = hashlib.sha256(str(source.path.resolve()).encode()).hexdigest()
    return Origin(
        title="HIGGS",
        path=source.path,
        key=f"{source.path.name}-{resolved[:8]}",
        identity=_identity(source),
        making=f"reading {source.name}",
        changed=f"{'one of ' if len(source.parts) > 1 else ''}{source.name} has changed",
        read=partial(_read, source),
    )


def _read(source: HiggsSource) -> Iterator[tuple[NDArray, NDArray]]:
    before = _identity(source)
    size = sum(size for _, size, _ in before["files"])
    with byte_progress(f"reading {source.path.name}", size) as progress:
        yield from read_blocks(source.parts, progress.update)
    if _identity(source) != before:
        raise UserError(f"{source.path}: it changed while it was read; try again once it is whole")


def _identity(source: HiggsSource) -> dict[str, Any]:
    try:
        stats = [(part.name, part.stat()) for part in source.parts]
    except OSError as error:
        raise UserError(f"{source.path}: cannot be read ({error.strerror or error})") from error
    return {"files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]}
