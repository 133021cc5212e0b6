"""Standard output that also goes to a log, survives a closed pipe, and ends with a status."""

import io
import logging
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from new_algorithm.cli.endings import INTERRUPTED, UNWRITABLE, lack_of_memory, unwritable
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import local_rank, rank_of_this_process
from new_algorithm.cli.signals import stopping_on_signals

PATIENCE = 30.0  # seconds, with a pipe that is full
ROOM = 4096  # bytes, of a pipe that can be written to
OUR_LOGGERS = ("__main__", "new_algorithm", "datasets")


class Tee:
    """Replaces sys.stdout and writes to a log as well.

    A stream that cannot be written any more is given up, with one notice on stderr.

    streams: by the names in that notice. written: all text so far, for a log that is opened later.
    """

    def __init__(self, stdout: TextIO | None) -> None:
        self.streams = {} if stdout is None else {"stdout": stdout}
        self.written: list[str] = []
        self._stdout = stdout

    def write(self, text: str) -> int:
        self.written.append(text)
        for name in list(self.streams):
            self.write_to(name, text)
        return len(text)

    def write_to(self, name: str, text: str) -> None:
        """Write to one of the streams alone, at once."""
        stream = self.streams.get(name)
        if stream is None:
            return
        try:
            _write(stream, text)
        except OSError as error:
            _drain(stream)
            del self.streams[name]
            why = error.strerror or error
            notice(f"{name} cannot be written any more ({why}); the run goes on")

    def flush(self) -> None:
        """Nothing to do: each text is written at once."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


class _StdoutHandler(logging.Handler):
    """Prints to whatever sys.stdout is at that moment, so that records reach the log."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


@contextmanager
def tee_stdout(log_path: Path | None = None) -> Iterator[Callable[[str], None]]:
    """Inside, stdout goes to `log_path` too; yields what writes to that log alone.

    stdout is restored in any case. Inside another tee, the log begins with what that one has
    written.
    """
    original = sys.stdout
    tee = original if isinstance(original, Tee) else Tee(original)
    name = log_path.name if log_path else ""
    if log_path and (log := _open_log(log_path)):
        tee.streams[name] = log
    tee.write_to(name, "".join(tee.written))
    sys.stdout = tee
    try:
        yield partial(tee.write_to, name)
    finally:
        sys.stdout = original
        if name in tee.streams:
            with suppress(OSError):
                tee.streams.pop(name).close()


def notice(text: str) -> None:
    """One line on stderr, or nothing where that is closed too."""
    try:
        print(f"notice: {text}", file=sys.stderr, flush=True)
    except OSError:
        _drain(sys.stderr)


def set_up_logging() -> None:
    """INFO of this repository's loggers to stdout as plain lines; other packages stay quiet."""
    logging.basicConfig(format="%(message)s", handlers=[_StdoutHandler()], level=logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def run_main(main: Callable[[], None]) -> None:
    """Call `main` and end the program: 2 for the user's mistake, in one line, 128 + n for signal n.

    Any other exception keeps its traceback and ends it with 1. Of several ranks the first alone
    writes to stdout.
    """
    _prepare_streams()
    set_up_logging()
    try:
        with ExitStack() as stack:
            stack.enter_context(stopping_on_signals())
            if rank_of_this_process() > 0:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(tee_stdout())
            main()
    except UserError as error:
        if local_rank() == 0:  # the others of this machine have met the same
            with suppress(OSError):
                print(f"error: {_printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        with suppress(OSError):
            print(f"error: {lack_of_memory(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        with suppress(OSError):
            print(f"error: {unwritable(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _prepare_streams() -> None:
    """Replace characters that the terminal cannot show; what the shell has closed goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  open to the end
            os.set_inheritable(nowhere.fileno(), True)  # worker processes would find it closed too
            setattr(sys, name, nowhere)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _write(stream: TextIO, text: str) -> None:
    """Write at once; OSError, of a pipe that nobody reads from too, which would block the run."""
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # a stream without a file
        is_pipe = False
    size = ROOM // 4 if is_pipe else len(text)  # characters, of four bytes at the most
    for start in range(0, len(text), max(1, size)):
        if is_pipe and not select.select([], [stream], [], PATIENCE)[1]:
            raise TimeoutError(f"nobody has read it for {PATIENCE:g} s")
        stream.write(text[start : start + size])
        stream.flush()


def _printable(text: str) -> str:
    """Return the text in one line, without the codes that a terminal obeys; names may hold such."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _open_log(path: Path) -> TextIO | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        why = error.strerror or error
        notice(f"no log of this run: {path.parent.name}/ cannot be written ({why})")
        return None


def _drain(stream: TextIO) -> None:
    """Discard what a broken stream still buffers, or the interpreter exits with status 120."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
