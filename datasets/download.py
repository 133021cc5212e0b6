"""One file over HTTP: taken up where it broke off, verified, and put into its place as a whole."""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from datasets.fetch_error import FetchError
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress

TIMEOUT_S = 10.0  # without a byte
ATTEMPTS = 3
PAUSE_S = 1.0  # doubled after each attempt
CHUNK = 1 << 16

log = logging.getLogger(__name__)


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    *,
    pause_s: float = PAUSE_S,
    timeout_s: float = TIMEOUT_S,
    description: str | None = None,
) -> None:
    """Fetch `url` as `path`; a file that is there already is replaced at the very end.

    Until then the bytes lie in `<path>.part`, which an interrupted download leaves behind and the
    next one continues. Without `sha256` the caller has to verify the file. `description` names it
    on the bar and in errors.

    FetchError if the server does not send the file, UserError if the folder cannot take it or
    another process is at it; what lies at `path` is then as it was.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with _open_locked(part) as file:
            _Transfer(url, file, description or path.name, timeout_s, pause_s).run(sha256)
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        raise cannot_be_written(path.parent, error) from error


def check_room(folder: Path, needed: int, name: str) -> None:
    """UserError if `folder` has less than `needed` bytes free for `name`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {name} needs {needed / 1e9:.1f} GB there, {free / 1e9:.1f} GB are free: "
            "free some space, then try again"
        )


def cannot_be_written(folder: Path, error: OSError) -> UserError:
    """What to tell about a full disk or a folder without write permission."""
    return UserError(
        f"{folder} cannot be written ({error.strerror or error}): free some space or mend its "
        "permissions, then try again"
    )


class _BrokenOffError(FetchError):
    """Another attempt may do better."""


@dataclass(frozen=True)
class _Transfer:
    """A file on its way: what has come of it lies in `file`, which is open for appending."""

    url: str
    file: BinaryIO
    name: str
    timeout_s: float
    pause_s: float

    def run(self, sha256: str | None) -> None:
        """Fill the file; a wrong hash leaves it empty. FetchError, UserError, OSError."""
        for _ in range(2):
            resumed = self._receive_persistently()
            if sha256 is None or self._sha256() == sha256:
                return
            self.file.truncate(0)
            if not resumed:
                break
            log.info("%s: its parts do not fit together, once more from the start", self.name)
        raise FetchError(f"{self.name}: the file sent has the wrong hash")

    def _receive_persistently(self) -> bool:
        """Retry what a server may get over: its own errors (5xx), an answer that broke off."""
        for attempt in range(ATTEMPTS):
            try:
                return self._receive()
            except _BrokenOffError:
                if attempt == ATTEMPTS - 1:
                    raise
            time.sleep(self.pause_s * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _receive(self) -> bool:
        """Append what is missing; whether some of the file had come with an earlier answer."""
        import requests  # a tenth of a second, needed only where nothing lies locally
        from urllib3.exceptions import HTTPError

        done = self.file.seek(0, os.SEEK_END)
        # As they lie on the server: compression on the way would make Range and hash meaningless.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        try:
            with requests.get(
                self.url, headers=headers, stream=True, timeout=self.timeout_s
            ) as answer:
                return self._append(answer, done)
        except HTTPError as error:  # while the body is read, which requests then leaves to urllib3
            raise _BrokenOffError(f"{self.name}: the answer broke off") from error
        except requests.Timeout as error:
            raise FetchError(f"{self.name}: no answer within {self.timeout_s:g} s") from error
        except requests.ConnectionError as error:
            raise FetchError("the server cannot be reached") from error
        except requests.RequestException as error:
            reason = type(error).__name__
            raise FetchError(f"{self.name}: the request failed ({reason})") from error

    def _append(self, answer: Any, done: int) -> bool:
        status = answer.status_code
        first, total = _sent_range(answer.headers.get("Content-Range", ""))
        if status == 416 and done and total == done:
            return True  # nothing was missing
        if status == 416 or (status == 206 and first != done):
            self.file.truncate(0)
            raise _BrokenOffError(f"{self.name}: the server answered {status}, with another range")
        if status >= 500:
            raise _BrokenOffError(f"{self.name}: the server answered {status}")
        if status not in (200, 206):
            raise FetchError(f"{self.name}: the server answered {status}")
        if status == 200:  # from the start, whatever was asked for
            self.file.truncate(0)
            done, total = 0, _number(answer.headers.get("Content-Length", ""))
        self._write(answer.raw.stream(CHUNK, decode_content=False), done, total)
        return status == 206

    def _write(self, chunks: Iterator[bytes], done: int, total: int | None) -> None:
        check_room(Path(self.file.name).parent, (total or 0) - done, self.name)
        with byte_progress(self.name, total, done) as bar:
            for chunk in chunks:
                self.file.write(chunk)
                done += len(chunk)
                bar.update(len(chunk))
        if total is not None and done < total:
            raise _BrokenOffError(f"{self.name}: the answer broke off")

    def _sha256(self) -> str:
        self.file.seek(0)
        return hashlib.file_digest(self.file, "sha256").hexdigest()


@contextmanager
def _open_locked(part: Path) -> Iterator[BinaryIO]:
    """`part` for appending, by this process alone; an empty one does not survive a failure."""
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock may have renamed the file meanwhile: it is not ours to write.
            mine = os.path.samestat(os.fstat(file.fileno()), part.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise UserError(f"{part}: another process is downloading this file: wait for its end")
        try:
            yield file
        except BaseException:
            if file.seek(0, os.SEEK_END) == 0:
                part.unlink(missing_ok=True)
            raise


def _sent_range(content_range: str) -> tuple[int | None, int | None]:
    """First byte and size of the whole, as far as `bytes 7-99/100` or `bytes */100` says."""
    match = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)$", content_range)
    return (_number(match[1] or ""), _number(match[2])) if match else (None, None)


def _number(digits: str) -> int | None:
    return int(digits) if digits.isdecimal() else None
