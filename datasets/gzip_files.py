"""Files that may be gzipped, and files in parts; a damaged one is a UserError naming it."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from new_algorithm.cli.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 18


@contextmanager
def open_plain_or_gzip(path: Path) -> Iterator[BinaryIO]:
    """The uncompressed bytes of `path`, which is taken for gzip where its name ends in .gz."""
    opener = gzip.open if path.suffix == ".gz" else open
    with _faults_of(path), opener(path, "rb") as file:
        yield file


@contextmanager
def open_parts(
    parts: Sequence[Path], on_read: Callable[[int], Any] = lambda count: None
) -> Iterator[BinaryIO]:
    """The uncompressed bytes of one file in parts, in this order.

    All of it is taken for gzip, of one member or several, where it begins like gzip or a name has
    .gz in it. `on_read` is told how many bytes were read from the disk, again and again.
    """
    named_gzip = any(".gz" in part.suffixes for part in parts)
    with (
        _faults_of(parts[0].parent / name_of_parts(parts)),
        io.BufferedReader(_Chain(parts, on_read), READ_BYTES) as chain,
    ):
        if named_gzip or chain.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=chain) as file:
                yield file
        else:
            yield chain


def name_of_parts(parts: Sequence[Path]) -> str:
    """The name of a file, or of the first and the last of its parts."""
    first, last = parts[0].name, parts[-1].name
    return first if len(parts) == 1 else f"{first} to {last} ({len(parts)} parts)"


class _Chain(io.RawIOBase):
    """The bytes of several files, one after the other; one is open at a time."""

    def __init__(self, paths: Sequence[Path], on_read: Callable[[int], Any]) -> None:
        self._left = iter(paths)
        self._on_read = on_read
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._file is None:
                path = next(self._left, None)
                if path is None:
                    return 0
                self._file = path.open("rb", buffering=0)
            if count := self._file.readinto(buffer):
                self._on_read(count)
                return count
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: damaged or not gzip ({error}); replace it by an original, or delete it"
        ) from error
    except OSError as error:
        named = error.filename or path
        raise UserError(f"{named}: cannot be read ({error.strerror or error})") from error
