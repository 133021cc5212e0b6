"""Files that may be gzipped or cut into parts; a damaged one is a UserError that names it."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from new_algorithm.cli.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 18


@contextmanager
def open_parts(
    parts: Sequence[Path], on_read: Callable[[int], Any] = lambda count: None
) -> Iterator[BinaryIO]:
    """Open the parts of one file, in this order, for reading its uncompressed bytes.

    The whole is taken for gzip, of one member or several, if a name has .gz in it or if it begins
    like gzip. `on_read` is called with each number of bytes read from the disk.
    """
    named_gzip = any(".gz" in part.suffixes for part in parts)
    path = parts[0].parent / name_of_parts(parts)
    try:
        with io.BufferedReader(_Chain(parts, on_read), READ_BYTES) as chain:
            if named_gzip or chain.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
                with gzip.GzipFile(fileobj=chain) as file:
                    yield cast(BinaryIO, file)
            else:
                yield chain
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: damaged or not gzip ({error}); replace it by an original, or delete it"
        ) from error
    except OSError as error:
        named = error.filename or path
        raise UserError(f"{named}: cannot be read ({error.strerror or error})") from error


def name_of_parts(parts: Sequence[Path]) -> str:
    """The name of a file, or of the first and the last of its parts."""
    first, last = parts[0].name, parts[-1].name
    return first if len(parts) == 1 else f"{first} to {last} ({len(parts)} parts)"


class _Chain(io.RawIOBase):
    """The bytes of several files, one after the other; one is open at a time."""

    def __init__(self, paths: Sequence[Path], on_read: Callable[[int], Any]) -> None:
        self._remaining = iter(paths)
        self._on_read = on_read
        self._file: io.FileIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._file is None:
                path = next(self._remaining, None)
                if path is None:
                    return 0
                self._file = io.FileIO(path)
            if count := self._file.readinto(buffer):
                self._on_read(count)
                return count
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()
