"""Where data sets come from: folders of this machine, HTTP, files gzipped or cut into parts."""

import gzip
import io
import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress

log = logging.getLogger(__name__)

OWN_FOLDER = Path(__file__).resolve().parent
FOLDER_VARIABLE = "BACK_PROJECTION_DATASETS"
RETRIES = 2
TIMEOUT_S = 10.0  # without a byte
CHUNK_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 18

Fetched = TypeVar("Fetched")


def folders_to_search(data_dir: Path | None) -> list[tuple[Path, str]]:
    """Return the folders in order, each with the words that name it in published records.

    An explicit `data_dir` is searched alone; otherwise the folder that BACK_PROJECTION_DATASETS
    names, if any, comes before this one.
    """
    if data_dir is not None:
        return [(data_dir, "the folder named by --data-dir")]
    own = (OWN_FOLDER, "datasets/")
    if named := os.environ.get(FOLDER_VARIABLE):
        return [(Path(named), f"the folder named by {FOLDER_VARIABLE}"), own]
    return [own]


# Files over HTTP.


def place_for(name: str, data_dir: Path | None) -> Path:
    """Return where to fetch a file of that name: in `data_dir`, or `datasets/`. UserError if it is
    there already."""
    target = (OWN_FOLDER if data_dir is None else data_dir) / name
    if target.exists():
        raise UserError(f"{target}: exists already; move it away to have it fetched")
    return target


def fetch_first(
    title: str,
    fetches: Mapping[str, Callable[[Path], Fetched]],
    by_hand: str,
    folder: Path | None = None,
) -> tuple[str, Fetched]:
    """Return the name of the first of `fetches` that raises no UserError, and what it returns.

    Each is given a temporary folder, in `folder` where there is one. UserError if all fail, with
    the reason of each and what to do `by_hand`, or if the folder cannot be written.
    """
    failures = []
    for source, fetch in fetches.items():
        log.info("%s: trying %s", title, source)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching_") as temporary:
                return source, fetch(Path(temporary))
        except UserError as error:
            log.warning("%s: %s failed (%s)", title, source, error)
            failures.append(f"{source} ({error})")
        except OSError as error:
            raise UserError(
                f"{folder or tempfile.gettempdir()} cannot be written ({error.strerror or error}): "
                "free some space or correct its permissions, then try again"
            ) from error
    raise UserError(f"{title} could not be fetched: {'; '.join(failures)}. {by_hand}")


def fetch_file(url: str, folder: Path, sha256: str | None = None) -> Path:
    """Download `url` into `folder`, which keeps nothing of it if that fails.

    Server errors (5xx), short bodies and wrong hashes are tried again. Without `sha256` the caller
    has to verify the file. UserError, in a few words, if the server does not send it; OSError if it
    cannot be written.
    """
    import pooch  # with requests half a second: needed only where no data lie on this machine
    import requests

    name = url.rpartition("/")[2]

    def download(url: str, path: str, _: Any) -> None:
        with byte_progress(name, 1) as bar:  # pooch asks bool(bar), then sets the true total
            fetch = pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=CHUNK_BYTES,
                timeout=TIMEOUT_S,
                headers={"Accept-Encoding": "identity"},  # the hash is of the file as it lies there
            )
            try:
                fetch(url, path, None)
            except (requests.ConnectionError, requests.Timeout) as error:
                raise UserError(f"{name}: the server cannot be reached") from error
            except requests.RequestException as error:
                reason = f"{name}: the download failed ({type(error).__name__})"
                status = getattr(error.response, "status_code", None)
                if status is not None:
                    reason = f"{name}: the server answered {status}"
                    if status < 500:
                        raise UserError(reason) from error
                raise requests.RequestException(reason) from error  # is tried again

    pooch.get_logger().setLevel("ERROR")  # the caller reports what happens
    files = pooch.create(
        folder, "", registry={name: sha256}, urls={name: url}, retry_if_failed=RETRIES
    )
    try:
        path = Path(files.fetch(name, downloader=download))
    except requests.RequestException as error:
        raise UserError(str(error)) from error
    except ValueError as error:
        raise UserError(f"{name}: the file sent has the wrong hash") from error
    path.chmod(0o644)  # pooch's temporary file was readable by its owner alone
    return path


# Files that may be gzipped or cut into parts.


@contextmanager
def open_parts(parts: Sequence[Path]) -> Iterator[BinaryIO]:
    """Open the parts of one file, in this order, for reading its uncompressed bytes.

    The whole is taken for gzip, of one member or several, if a name has .gz in it or if it begins
    like gzip. A bar shows the bytes read from the disk. UserError for a file that is damaged or
    cannot be read.
    """
    named_gzip = any(".gz" in part.suffixes for part in parts)
    path = parts[0].parent / name_of_parts(parts)
    try:
        size = sum(part.stat().st_size for part in parts)
        with (
            byte_progress(f"reading {parts[0].name}", size) as progress,
            io.BufferedReader(_Chain(parts, progress.update), READ_BYTES) as chain,
        ):
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
        self._file: io.FileIO | io.BytesIO = io.BytesIO()  # which has nothing to be read
        self._next, self._on_read = list(paths), on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (count := self._file.readinto(buffer)) and self._next:
            self._file.close()
            self._file = io.FileIO(self._next.pop(0))
        self._on_read(count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
