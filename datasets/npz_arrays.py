"""Plain arrays out of an .npz file that may be damaged or hostile.

Nothing is unpickled, and nothing is allocated before the header of an array, the size of its zip
member and the size of the file agree. Every failure is a UserError naming the file and the key.
"""

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from new_algorithm.cli.errors import UserError

NUMBER_KINDS = "biuf"  # booleans, integers, floats
HEADER_BYTES = 1 << 16
# No stream of a method decompresses to more than this many times its size (measured on zeros,
# rounded up; deflate's bound is exact).
MOST_EXPANSION = {
    zipfile.ZIP_STORED: 1,
    zipfile.ZIP_DEFLATED: 1032,
    zipfile.ZIP_LZMA: 10_000,
    zipfile.ZIP_BZIP2: 1_500_000,
}


@dataclass(frozen=True)
class Header:
    """What an .npy header promises; `offset` is where its data begin, in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int

    @property
    def total_bytes(self) -> int:
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, key: str) -> Header:
    """The checked header of one array, without reading its data."""
    with _open_archive(path) as archive:
        return _checked_header(archive, path, key)


def read_arrays(path: Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """The named arrays, read-only, in the order and type in which they were saved."""
    with _open_archive(path) as archive:
        return {key: _read_array(archive, path, key) for key in keys}


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


def _checked_header(archive: zipfile.ZipFile, path: Path, key: str) -> Header:
    member = _member(archive, path, key)
    _check_member_size(member, path, key)
    with archive.open(member) as file:
        header = _parse_header(file.read(HEADER_BYTES), path, key)
    if header.dtype.kind not in NUMBER_KINDS:
        raise UserError(
            f"{path}: {key} holds {_kind_in_words(header.dtype)}; "
            "save a plain array of numbers instead"
        )
    if header.total_bytes != member.file_size:
        raise UserError(
            f"{path}: the header of {key} promises {header.total_bytes} bytes, the file holds "
            f"{member.file_size}; replace it with a good copy"
        )
    return header


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(f"{key}.npy")
    except KeyError:
        present = ", ".join(Path(name).stem for name in archive.namelist()[:10]) or "nothing"
        raise UserError(f"{path}: {key} is missing (it holds {present}); add it") from None


def _check_member_size(member: zipfile.ZipInfo, path: Path, key: str) -> None:
    expansion = MOST_EXPANSION.get(member.compress_type)
    if expansion is None:
        raise UserError(f"{path}: {key} is compressed in an unknown way; save it with np.savez")
    in_file = min(member.compress_size, path.stat().st_size)
    if member.file_size > in_file * expansion:
        raise UserError(
            f"{path}: {key} promises {member.file_size} bytes, more than its {in_file} bytes "
            "in the file can hold; replace it with a good copy"
        )


def _parse_header(head: bytes, path: Path, key: str) -> Header:
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        parse = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = parse(file)
    except (ValueError, KeyError, TypeError, SyntaxError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path}: {key} does not start with a valid .npy header; save it again with np.savez"
        ) from error
    if any(length < 0 for length in shape):
        raise UserError(f"{path}: {key} has the impossible shape {shape}; save it again")
    return Header(shape, dtype, fortran_order, file.tell())


def _kind_in_words(dtype: np.dtype) -> str:
    return "pickled objects, which are never loaded" if dtype.hasobject else f"type {dtype}"


def _read_array(archive: zipfile.ZipFile, path: Path, key: str) -> np.ndarray:
    header = _checked_header(archive, path, key)
    with archive.open(f"{key}.npy") as file:
        content = file.read(header.total_bytes)  # zipfile checks the CRC as the last byte is read
    if len(content) != header.total_bytes:
        raise UserError(f"{path}: {key} is cut short; replace the file with a good copy")
    flat = np.frombuffer(content, header.dtype, offset=header.offset)
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")
