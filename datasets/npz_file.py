"""The user's own data: arrays of an .npz file, which may be damaged or hostile.

Nothing is unpickled, and nothing is allocated before the header of an array and the size of its zip
member agree. Every fault is a UserError naming the file and the key.
"""

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import TEST_DIVISOR, Dataset, Split
from datasets.tabular import KEYS, WITHOUT_TEST, check_shapes, tabular_dataset
from datasets.targets import Task
from new_algorithm.cli.errors import UserError

NUMBER_KINDS = "biuf"  # booleans, integers, floats
TEXT_KINDS = "US"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_npz_file(path: Path, split: Split, task: Task | None = None) -> Dataset:
    """Load x_train, y_train, x_test and y_test; validation rows are drawn, of each class alike.

    Where there are x and y alone, test rows are drawn as well.
    """
    names = set(array_names(path))
    drawn = set(WITHOUT_TEST) <= names and "x_train" not in names
    keys = WITHOUT_TEST if drawn else KEYS
    texts = keys[1::2]
    x = _read_headers(path, keys[:1])[keys[0]]
    if x.ndim and len(x):  # otherwise refused with the other shapes
        split.check_batch(len(x) - len(x) // TEST_DIVISOR if drawn else len(x))
    headers = _read_headers(path, keys, texts)  # before any content, which may inflate to far more
    if all(header.ndim for header in headers.values()):  # otherwise refused with their content
        check_shapes(path, headers)
    arrays = read_arrays(path, keys, of_text=texts)
    source = f"the file {path.name}"
    return tabular_dataset(path, arrays, split, source, in_random_order=False, task=task)


def read_arrays(path: Path, keys: Iterable[str], of_text: Iterable[str] = ()) -> dict[str, NDArray]:
    """The named arrays, read-only, in the order and type in which they were saved.

    Those in `of_text` may hold texts, the others numbers alone.
    """
    with _open_archive(path) as archive:
        return {key: _read_array(archive, path, key, key in of_text) for key in keys}


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a file."""
    with _open_archive(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _read_headers(
    path: Path, keys: Iterable[str], of_text: Iterable[str] = ()
) -> dict[str, NDArray]:
    """Arrays of the types and shapes of the named ones, which take no memory."""
    with _open_archive(path) as archive:
        return {key: _read_array(archive, path, key, key in of_text, True) for key in keys}


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise UserError(
            f"{path}: damaged or not an .npz file ({error}); replace it with a good copy"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown method, an encrypted member
        raise UserError(f"{path}: cannot be read ({error}); save it again with np.savez") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_array(
    archive: zipfile.ZipFile,
    path: Path,
    key: str,
    may_be_text: bool = False,
    header_alone: bool = False,
) -> NDArray:
    """Read one array; with `header_alone`, one of its type and shape that takes no memory."""
    if f"{key}.npy" not in archive.namelist():
        present = ", ".join(Path(name).stem for name in archive.namelist()[:10]) or "nothing"
        raise UserError(f"{path}: {key} is missing (it holds {present}); add it")
    member = archive.getinfo(f"{key}.npy")
    with archive.open(member) as file:
        try:
            shape, in_fortran_order, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError, TypeError, SyntaxError, OverflowError, RecursionError):
            raise UserError(
                f"{path}: {key} does not start with a valid .npy header; save it with np.savez"
            ) from None
        if dtype.kind not in NUMBER_KINDS + TEXT_KINDS * may_be_text:
            kind = "pickled objects, which are never loaded" if dtype.hasobject else f"type {dtype}"
            raise UserError(f"{path}: {key} holds {kind}; save a plain array of numbers instead")
        promised, held = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        in_file = member.compress_size <= path.stat().st_size
        if promised != held or min(shape, default=0) < 0 or not in_file:
            raise UserError(
                f"{path}: the header of {key} promises {promised} bytes, the file holds {held}; "
                "replace it with a good copy"
            )
        if header_alone:
            return np.broadcast_to(np.zeros((), dtype), shape)
        content = file.read()  # zipfile checks the CRC as the last byte is read
    if len(content) != promised:
        raise UserError(f"{path}: {key} is cut short; replace the file with a good copy")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if in_fortran_order else "C")
