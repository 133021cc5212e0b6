"""One living process to a tag: the record's folder is created or cleared under a lock."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.tags import dated_tags, validate_tag
from new_algorithm.record.layout import Layout

LOCK_NAME = ".lock"  # stays in the folder: removing it would let two processes hold two files


def check_tag(
    tag: str | None, overwrite: bool, layout: Layout | None = None, resume: bool = False
) -> None:
    """UserError if `tag` is unsafe, taken without `overwrite`, or in use by a living process.

    With `resume` the tag must be taken.
    """
    if resume and (tag is None or overwrite):
        raise UserError("--resume goes on with the run that --tag names, and without --overwrite")
    if tag is None:
        return
    validate_tag(tag)
    layout = layout or Layout()
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
    resume: bool = False,
) -> Iterator[str]:
    """Hold an empty record folder for `tag`, or for a new dated tag if None; yield the tag.

    With `resume` the folder of an earlier run is held, as it is. UserError if the tag is unsafe,
    taken or in use; OSError if the folder cannot be made.
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
        if not overwrite and not resume:
            _check_free(tag, layout)  # again: a process that held the lock may have filled it
        if not resume:
            _clear(folder)
            _clear(layout.figures(tag))
        yield tag


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
    for folder in (layout.record(tag), layout.figures(tag)):
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
