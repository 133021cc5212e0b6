"""Files that may be gzipped; a damaged one is a UserError naming it."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from new_algorithm.lab.errors import UserError


@contextmanager
def open_plain_or_gzip(path: Path) -> Iterator[BinaryIO]:
    """The uncompressed bytes of `path`, which is taken for gzip where its name ends in .gz."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: damaged or not gzip ({error}); replace it by an original, or delete it"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
