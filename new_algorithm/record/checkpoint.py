"""Where a run goes on that was cut short or is given more epochs: its arrays and facts between two
steps.

Two are kept, so that the earlier one is left if the latest is damaged, which the checksums of an
.npz reveal. Facts are JSON, and nothing is unpickled.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from new_algorithm.cli.console import notice
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import replace_atomically

LATEST, PREVIOUS = "checkpoint.npz", "checkpoint_previous.npz"
FACTS = "facts"


class Checkpoint(NamedTuple):
    """arrays: by name. facts: whatever JSON can say; tuples have become lists."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def save_checkpoint(folder: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write the checkpoint; the latest becomes the previous one. OSError leaves both as they are.

    A process killed at any moment leaves at least one of them whole.
    """
    latest = folder / LATEST
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with replace_atomically(folder / f"{LATEST}.new") as file:
        np.savez(file, **arrays | {FACTS: text})  # type: ignore[arg-type]  # as in save_npz
    if latest.exists():
        os.replace(latest, folder / PREVIOUS)
    os.replace(folder / f"{LATEST}.new", latest)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read the latest sound checkpoint, with a notice if that is the previous one. UserError."""
    troubles = []
    for path in (folder / LATEST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            facts = json.loads(arrays.pop(FACTS).tobytes())
        except Exception as error:  # zipfile raises whatever the damaged bytes lead it to
            troubles.append(f"{path.name} is damaged ({error})")
            continue
        for trouble in troubles:
            notice(f"{trouble}; the run goes on from {path.name}")
            (folder / LATEST).unlink()  # or the next one saved would put it in this one's place
        return Checkpoint(arrays, facts)
    found = "; ".join(troubles) or "there is no checkpoint"
    raise UserError(
        f"--resume: nothing to go on from in {folder.parent.name}/{folder.name}/ ({found}): run "
        "again with --overwrite in place of --resume"
    )


def keep_latest(folder: Path) -> None:
    """Delete all but the latest checkpoint, from which a completed run may go on."""
    for path in folder.iterdir():
        name = path.name.lstrip(".")  # with a dot: of a save that was killed
        if name.startswith("checkpoint") and path.name != LATEST:
            path.unlink()
