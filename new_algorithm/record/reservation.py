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
from typing import BinaryIO, Literal

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import validate_tag
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import ASIDE, Layout

Kind = Literal["run", "experiment", "search", "analysis"]


@dataclass
class Reservation:
    """tag: whose record and figures are held. aside: folders overwritten, and where they are."""

    tag: str
    aside: list[tuple[Path, Path]] = field(default_factory=list)

    def supersede(self) -> None:
        """Delete what was set aside."""
        for _, aside in self.aside:
            gone = aside.with_name(f".{aside.name}")  # or one killed now would put half of it back
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(aside, gone)
            shutil.rmtree(gone, ignore_errors=True)
        self.aside.clear()

    def put_back(self) -> bool:
        """Let what was set aside take the place of what has come since; whether there was any."""
        places, self.aside = self.aside, []
        for folder, aside in places:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
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
    if (twin := _twin(layout.record(tag))) is not None:
        raise UserError(
            f"--tag {tag}: there is a run {twin} already, which on some systems has the same "
            "folder: choose a tag that differs in more than its capitals"
        )
    if is_held(layout.lock(tag)):
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

    With `resume` the folder of an earlier run is held, as it is, and what that run set aside. With
    `overwrite` an earlier record of the same kind is set aside, and put back unless it is
    superseded. UserError if the tag is unsafe, taken or in use; OSError if the folder cannot be
    made.
    """
    check_tag(tag, overwrite, layout, resume)
    layout.lock("").mkdir(parents=True, exist_ok=True)
    if tag is None:
        tag = next(t for t in dated_tags(script_stem, now) if _create(layout.record(t)))
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(layout.lock(tag)))
        except BlockingIOError:
            raise _in_use(tag) from None
        # what a process had set aside that was killed before it had anything better
        places = [(folder, folder.parent / ASIDE / tag) for folder in _folders(tag, layout)]
        reservation = Reservation(tag, [place for place in places if place[1].exists()])
        stack.callback(reservation.put_back)
        if resume:
            _check_kind(tag, kind, layout)
        else:
            reservation.put_back()
            _set_aside(reservation, overwrite, kind, layout)
        layout.record(tag).mkdir(exist_ok=True)
        yield reservation


def dated_tags(script_stem: str, now: datetime) -> Iterator[str]:
    """`script_2026-11-20_134501`, then the same with _2, _3, ... for as long as asked."""
    stem = re.sub(r"[^A-Za-z0-9_]", "_", script_stem)[:60]
    first = f"{stem}_{now:%Y-%m-%d_%H%M%S}"
    yield first
    yield from (f"{first}_{number}" for number in count(2))


def _set_aside(reservation: Reservation, overwrite: bool, kind: Kind, layout: Layout) -> None:
    tag = reservation.tag
    if not overwrite:
        _check_free(tag, layout)  # a process that held the lock may have filled it
    _check_kind(tag, kind, layout)
    for folder in filter(is_filled, _folders(tag, layout)):
        aside = folder.parent / ASIDE / folder.name
        aside.parent.mkdir(exist_ok=True)
        os.replace(folder, aside)
        reservation.aside.append((folder, aside))


def _check_kind(tag: str, kind: Kind, layout: Layout) -> None:
    if (there := kind_of(layout.record(tag))) not in (None, kind):
        raise UserError(
            f"--tag {tag}: {layout.relative(layout.record(tag))}/ holds a whole {there}, which a "
            f"{kind} does not replace: choose another tag"
        )


def kind_of(folder: Path) -> str | None:
    """Return what a record folder holds; None for no record, or one that cannot be read."""
    if (folder / "experiment.json").exists():  # records have not always named their kind
        return "experiment"
    record = read_record(folder)
    return None if record is None else str(record.get("kind", "run"))


def _folders(tag: str, layout: Layout) -> tuple[Path, Path]:
    return layout.record(tag), layout.figures(tag)


@contextmanager
def hold_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; BlockingIOError if another process does and `wait` is False.

    Its holder may delete it: who has waited for it then takes the one that is there, or makes one.
    FileNotFoundError where its folder is gone.
    """
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if _is_at(file, path):
                    yield
                    return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough once a child has forked


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock file."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _twin(folder: Path) -> str | None:
    """Return the name of a folder beside this one that differs in its capitals alone."""
    if folder.exists() or not folder.parent.is_dir():
        return None
    names = (path.name for path in folder.parent.iterdir())
    return next((name for name in names if name.lower() == folder.name.lower()), None)


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
    """Whether there is anything in the folder but hidden files, such as locks."""
    return any(folder.glob("[!.]*")) if folder.is_dir() else folder.exists()


def _in_use(tag: str) -> UserError:
    return UserError(f"--tag {tag} is in use by a running process: choose another tag or wait")
