"""Each tag belongs to one running process: its folder is made, or replaced, under a lock."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Literal

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import validate_tag
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import Layout

Kind = Literal["run", "experiment", "search"]
LOCK_NAME = ".lock"  # stays in the folder: removing it would let two processes hold two files
ASIDE = ".replaced"  # the folder, beside records and figures, of those being overwritten


@dataclass
class Reservation:
    """tag: whose record and figures are held. _aside: folders overwritten, and where they are."""

    tag: str
    _aside: list[tuple[Path, Path]] = field(default_factory=list)

    def supersede(self) -> None:
        """Delete what was set aside."""
        for _, aside in self._aside:
            gone = aside.with_name(f".{aside.name}")  # or one killed now would put half of it back
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(aside, gone)
            shutil.rmtree(gone, ignore_errors=True)
        self._aside.clear()

    def put_back(self) -> bool:
        """Let what was set aside take the place of what has come since; whether there was any."""
        places, self._aside = self._aside, []
        for folder, aside in places:
            _clear(folder)
            _move_content(aside, folder)
            aside.rmdir()
        return bool(places)


def check_tag(
    tag: str | None, overwrite: bool, layout: Layout | None = None, resume: bool = False
) -> None:
    """UserError if `tag` is unsafe, taken without `overwrite`, or in use by a living process.

    With `resume` the tag must be taken.
    """
    if resume and (tag is None or overwrite):
        raise UserError("--resume continues the run that --tag names, and without --overwrite")
    if tag is None:
        return
    validate_tag(tag)
    layout = layout or Layout()
    for folder in _folders(tag, layout):
        if folder.is_symlink():
            raise UserError(
                f"--tag {tag}: {layout.relative(folder.parent)}/{tag} is a symbolic link, "
                "and what it points to is never replaced: remove the link or choose another tag"
            )
    if is_held(layout.record(tag)):
        raise _in_use(tag)
    if resume and not is_filled(layout.record(tag)):
        raise UserError(f"--resume: there is no run {tag}; leave --resume out to begin it")
    if not overwrite and not resume:
        _check_free(tag, layout)


@contextmanager
def reserve(
    tag: str | None,
    script_stem: str,
    overwrite: bool,
    layout: Layout,
    now: datetime,
    *,
    resume: bool = False,
    kind: Kind = "run",
) -> Iterator[Reservation]:
    """Hold an empty record folder for `tag`, or for a new dated tag if None.

    With `resume` the folder of an earlier run is held, as it is. With `overwrite` an earlier record
    of the same kind is set aside, and put back unless it is superseded. UserError if the tag is
    unsafe, taken or in use; OSError if the folder cannot be made.
    """
    check_tag(tag, overwrite, layout, resume)
    layout.records.mkdir(parents=True, exist_ok=True)
    if tag is None:
        tag = next(t for t in dated_tags(script_stem, now) if _create(layout.record(t)))
    folder = layout.record(tag)
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(folder / LOCK_NAME))
        except BlockingIOError:
            raise _in_use(tag) from None
        reservation = Reservation(tag)
        if not resume:
            _set_aside(reservation, overwrite, kind, layout)
        stack.callback(reservation.put_back)
        yield reservation


def dated_tags(script_stem: str, now: datetime) -> Iterator[str]:
    """`script_2026-11-20_134501`, then the same with _2, _3, ... for as long as asked."""
    stem = re.sub(r"[^A-Za-z0-9_]", "_", script_stem)[:60]
    first = f"{stem}_{now:%Y-%m-%d_%H%M%S}"
    yield first
    yield from (f"{first}_{number}" for number in count(2))


def _set_aside(reservation: Reservation, overwrite: bool, kind: Kind, layout: Layout) -> None:
    tag, places = reservation.tag, []
    for folder in _folders(tag, layout):
        aside = folder.parent / ASIDE / folder.name
        if aside.exists():  # of a process that was killed before it had anything better
            Reservation(tag, [(folder, aside)]).put_back()
        if is_filled(folder):
            places.append((folder, aside))
    if places and not overwrite:
        _check_free(tag, layout)  # a process that held the lock may have filled it
    there = kind_of(layout.record(tag))
    if places and there not in (None, kind):
        raise UserError(
            f"--tag {tag}: {layout.relative(layout.record(tag))}/ holds a whole {there}, which a "
            f"{kind} does not replace: choose another tag"
        )
    for folder, aside in places:
        _move_content(folder, aside)
        reservation._aside.append((folder, aside))


def kind_of(folder: Path) -> str | None:
    """Return what a record folder holds; None for no record, or one that cannot be read."""
    if (folder / "experiment.json").exists():  # records have not always named their kind
        return "experiment"
    record = read_record(folder)
    return None if record is None else str(record.get("kind", "run"))


def _folders(tag: str, layout: Layout) -> tuple[Path, Path]:
    return layout.record(tag), layout.figures(tag)


def _move_content(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.name != LOCK_NAME:
            os.replace(path, target / path.name)


@contextmanager
def hold_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; BlockingIOError if another process does and `wait` is False."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough once a child has forked


def is_held(record: Path) -> bool:
    """Whether a living process holds the record folder."""
    try:
        with (record / LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _create(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _check_free(tag: str, layout: Layout) -> None:
    for folder in _folders(tag, layout):
        if is_filled(folder):
            raise UserError(
                f"--tag {tag}: {layout.relative(folder)}/ exists already: "
                "choose another tag or add --overwrite"
            )


def is_filled(folder: Path) -> bool:
    """Whether anything but a lock is in the folder."""
    if not folder.is_dir():
        return folder.exists()
    return any(path.name != LOCK_NAME for path in folder.iterdir())


def _clear(folder: Path) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_NAME:
            path.unlink()


def _in_use(tag: str) -> UserError:
    return UserError(f"--tag {tag} is in use by a running process: choose another tag or wait")
