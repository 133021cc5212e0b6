"""Standard output that also goes to a log, survives a closed pipe, and ends with a status."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import rank_of_this_process
from new_algorithm.cli.signals import INTERRUPTED

OUR_LOGGERS = ("__main__", "new_algorithm", "datasets")


class Forgiving:
    """A text stream that is given up, with one notice on stderr, once it cannot be written."""

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self.stream = stream
        self.name = name

    def write(self, text: str) -> None:
        self._attempt(lambda stream: stream.write(text))
        if "\n" in text:
            self.flush()

    def flush(self) -> None:
        self._attempt(lambda stream: stream.flush())

    def close(self) -> None:
        self._attempt(lambda stream: stream.close())

    def _attempt(self, action: Callable[[TextIO], Any]) -> None:
        if self.stream is None:
            return
        try:
            action(self.stream)
        except OSError as error:
            _drain(self.stream)
            self.stream = None
            notice(f"{self.name} cannot be written any more ({_reason(error)}); the run goes on")


class Tee:
    """Stands for sys.stdout and writes to the log as well.

    written: all text so far, for a log that is opened later.
    """

    def __init__(self, original: TextIO | None, log: Forgiving) -> None:
        self.written: list[str] = []
        self._original = original
        self._streams = (Forgiving(original, "stdout"), log)

    def write(self, text: str) -> int:
        self.written.append(text)
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _StdoutHandler(logging.Handler):
    """Prints to whatever sys.stdout is at that moment, so that records reach the log."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


@contextmanager
def tee_stdout(log_path: Path | None = None) -> Iterator[Forgiving]:
    """Inside, stdout goes to `log_path` too; yields the log. stdout is restored in any case.

    Inside another tee, the log begins with what that one has written.
    """
    original = sys.stdout
    log = Forgiving(_open_log(log_path), log_path.name if log_path else "")
    if isinstance(original, Tee):
        log.write("".join(original.written))
    tee = Tee(original, log)
    sys.stdout = tee
    try:
        yield log
    finally:
        sys.stdout = original
        tee.flush()
        log.close()


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
    """Call `main` and end the program: 2 for the user's mistake, in one line, 130 for Ctrl-C.

    Any other exception keeps its traceback and ends it with 1. Of several ranks the first alone
    writes to stdout.
    """
    set_up_logging()
    try:
        with ExitStack() as stack:
            if rank_of_this_process() > 0:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(tee_stdout())
            main()
    except UserError as error:
        with suppress(OSError):
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _open_log(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        notice(f"no log of this run: {path.parent.name}/ cannot be written ({_reason(error)})")
        return None


def _drain(stream: TextIO) -> None:
    """Let what a broken stream still buffers vanish, or the interpreter ends with status 120."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _reason(error: OSError) -> str:
    known = error.errno is not None and error.errno in errno.errorcode
    return os.strerror(error.errno or 0) if known else str(error)
