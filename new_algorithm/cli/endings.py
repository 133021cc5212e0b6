"""How a run ended, read off the exception that ended it."""

import errno
import signal
import traceback
from pathlib import Path

from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.signals import Stopped

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG  # the disk, a share of it, a file's limit
UNWRITABLE = *FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def outcome(error: BaseException | None) -> str:
    """completed, interrupted, diverged or failed."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "completed"
    if _stopped_by(error):
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def reason(error: BaseException) -> str:
    """One line for run.json and the note."""
    if by := _stopped_by(error):
        return f"stopped by {by}"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return lack_of_memory(error)
    return " ".join("".join(traceback.format_exception_only(error)).split())


def lack_of_memory(error: MemoryError) -> str:
    """One line that names what did not fit, and what takes less."""
    what = str(error) or "an array did not fit"
    return f"not enough memory: {what}: fewer rows, a smaller batch or a narrower network take less"


def unwritable(error: OSError, path: Path | None = None) -> str:
    """One line that names the file, that of the error if no other, and what may help."""
    return (
        f"{path or error.filename or 'a file'} cannot be written ({error.strerror or error}): free "
        "some space or mend the permissions; files that were complete are still there"
    )


def log_entry(error: BaseException) -> str:
    """What the log keeps: a line for the user's mistake, otherwise the traceback."""
    if isinstance(error, UserError):
        return f"error: {error}\n"
    return "".join(traceback.format_exception(error))


def _stopped_by(error: BaseException) -> str | None:
    number = error.signal if isinstance(error, Stopped) else None
    if isinstance(error, KeyboardInterrupt) or number == signal.SIGINT:
        return "Ctrl-C"
    return number.name if number is not None else None
