"""Rdatasets, V. Arel-Bundock's collection of the tables of R's packages as csv files."""

from pathlib import Path

from datasets import sources
from datasets.public_tables.csv_format import read_csv
from datasets.public_tables.r_format import Frame
from datasets.sources import FOLDER_VARIABLE, fetch_file, fetch_first, folders_to_search
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import replace_atomically

HOST = "vincentarelbundock/Rdatasets"
SERVER = "https://raw.githubusercontent.com"
COMMIT = "1dcc2bf5f955cc1224a3e1307256e1fe86b68dae"
FOLDER = "Rdatasets/csv"  # as in a clone


def read_rdatasets(member: str, data_dir: Path | None = None) -> tuple[Path, Frame]:
    """The file of table `member`, PACKAGE/NAME, and its columns; names of rows are none.

    From the folders that are searched, else fetched into `datasets/`. UserError where it cannot be
    had or read.
    """
    file = _find(f"{FOLDER}/{member}.csv", data_dir)
    frame = _read(file, file)
    return file, {name: column for name, column in frame.items() if name != "rownames"}


def _read(file: Path, named: Path | str) -> Frame:
    try:
        return read_csv(file.read_bytes())
    except (OSError, ValueError) as error:
        words = " ".join(str(error).split())
        raise UserError(f"{named}: no sound table in it ({words})") from error


def _find(name: str, data_dir: Path | None) -> Path:
    for folder, _ in folders_to_search(data_dir):
        if (folder / name).is_file():
            return folder / name
    url = f"{SERVER}/{HOST}/{COMMIT}/{name.partition('/')[2]}"
    kept = sources.OWN_FOLDER / name
    by_hand = (
        f"By hand: put {url} at {kept}, or a clone of github.com/{HOST} into a folder that "
        f"{FOLDER_VARIABLE} names"
    )

    def fetch(temporary: Path) -> bytes:
        file = fetch_file(url, temporary)
        _read(file, file.name)  # or it is not kept; its numbers are verified later
        return file.read_bytes()

    _, content = fetch_first(name, {HOST: fetch}, by_hand)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(kept) as new:
            new.write(content)
    except OSError as error:
        raise UserError(f"{kept}: cannot be written ({error.strerror or error})") from error
    return kept
