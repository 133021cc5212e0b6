"""What lies in one folder of the cache, who may write there, and what of it is believed.

cache.json vouches for the other files: it goes before other rows take the place of those it speaks
of, and comes back after them. What it does not name, and all of a folder without it, is never read.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets.higgs.npy_rows import map_npy
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import save_text
from new_algorithm.record.reservation import LOCK_NAME, hold_lock

log = logging.getLogger(__name__)

LAYOUT = 1  # of the folder; another number makes every cache be built anew
FACTS = "cache.json"
ARRAYS = ("features.npy", "labels.npy", "scaled_*.npy")


class UnfitError(Exception):
    """What is to be done, and why what is in the folder will not do: a line for the log."""


@dataclass(frozen=True)
class Facts:
    """cache.json: of what the arrays were made, and what is in them.

    sha256: of x_train, y_train, x_test and y_test before scaling.
    scaled: name of a split -> rows, mean, sd (null where constant) and sha256 of its scaled rows.
    """

    source: dict[str, Any]
    rows: int
    sha256: dict[str, str]
    scaled: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_facts(folder: Path) -> Facts | None:
    """None where nothing was ever completed; UnfitError for what is not of this layout."""
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        if facts.pop("layout") == LAYOUT:
            return Facts(**facts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnfitError(f"built anew, {FACTS} is damaged or cannot be read") from error
    raise UnfitError("built anew, it has the layout of another version")


def write_facts(folder: Path, facts: Facts) -> None:
    """Vouch for the arrays from now on."""
    save_text(folder / FACTS, json.dumps({"layout": LAYOUT, **asdict(facts)}, indent=1))


def map_array(folder: Path, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only map; UnfitError unless the file holds an array of that type and shape."""
    try:
        return map_npy(folder / name, dtype, shape)
    except FileNotFoundError:
        raise UnfitError(f"built anew, {name} is missing") from None
    except (OSError, ValueError, TypeError) as error:
        raise UnfitError(f"built anew, {name} is damaged or cannot be read") from error


def discard(folder: Path) -> None:
    """Believe nothing there any more, and remove what was made of the rows."""
    (folder / FACTS).unlink(missing_ok=True)
    for path in folder.glob("scaled_*.npy"):
        path.unlink()


@contextmanager
def writing(folder: Path, title: str) -> Iterator[None]:
    """Make the folder and be the only process that writes there; wait for another to finish.

    Whatever the file system refuses inside is a UserError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(folder / LOCK_NAME))
            except BlockingIOError:
                log.info("%s cache: waiting for another process that is building it", title)
                stack.enter_context(hold_lock(folder / LOCK_NAME, wait=True))
            _clear_leftovers(folder)
            yield
    except OSError as error:
        raise UserError(
            f"{folder}: the cache of {title} cannot be written ({error.strerror or error}); make "
            f"room or allow writing there, or make {folder.parent} a link to another disk"
        ) from error


def _clear_leftovers(folder: Path) -> None:
    """Temporary files of a build that was killed."""
    for name in (*ARRAYS, FACTS):
        for path in folder.glob(f".{name}.*"):
            path.unlink()
