"""Where HIGGS lies: in the user's folder or in this one."""

from pathlib import Path

from datasets.local_folders import FOLDER_VARIABLE, OWN_FOLDER, folders_to_search
from new_algorithm.lab.errors import UserError

WHOLE = ("HIGGS.csv", "HIGGS.csv.gz")  # looked for everywhere before a sample is
SAMPLE = ("HIGGS_sample*.csv.gz", "HIGGS_sample*.csv")


def find_higgs(data_dir: Path | None = None, *, own_folder: Path = OWN_FOLDER) -> Path | None:
    """The file that `load_higgs` would read, or None; it is not opened."""
    found = _find(data_dir, own_folder)
    return found and found[1]


def locate_higgs(
    data_dir: Path | None = None, *, own_folder: Path = OWN_FOLDER
) -> tuple[str, Path]:
    """Where the file lies, in words that name no folder of this machine, and its path.

    UserError if no folder that is searched holds it; an explicit `data_dir` is searched alone.
    """
    found = _find(data_dir, own_folder)
    if found is None:
        searched = " or ".join(str(folder) for folder, _ in folders_to_search(data_dir, own_folder))
        raise UserError(
            f"no HIGGS in {searched}: put HIGGS.csv.gz (the UCI HIGGS data set) there, "
            f"or let --data-dir or {FOLDER_VARIABLE} name its folder"
        )
    return found


def _find(data_dir: Path | None, own_folder: Path) -> tuple[str, Path] | None:
    for patterns in (WHOLE, SAMPLE):
        for folder, words in folders_to_search(data_dir, own_folder):
            if path := _file_in(folder, patterns):
                return f"{path.name} in {words}", path
    return None


def _file_in(folder: Path, patterns: tuple[str, ...]) -> Path | None:
    try:
        matches = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
        return next((path for path in matches if path.is_file()), None)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
