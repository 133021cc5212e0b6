"""Files that are either wholly there or as they were before: temporary file, fsync, rename."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np


@contextmanager
def replace_atomically(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a temporary binary file that becomes `path` on success and vanishes on failure.

    Unless `durable`, it is not forced to the disk: it then survives a killed process, but not
    a power cut. That saves milliseconds a file, for files that are written again and again.

    The temporary file lies in the same folder, because a rename is atomic within one file
    system only. OSError (full disk, read-only folder) leaves the previous `path` intact.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 would hide it from colleagues
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write `arrays` as a compressed .npz, atomically."""
    with replace_atomically(path) as file:
        np.savez_compressed(file, **arrays)


def save_npy(path: Path, array: np.ndarray, durable: bool = True) -> None:
    """Write one array as .npy, atomically."""
    with replace_atomically(path, durable) as file:
        np.save(file, array, allow_pickle=False)


def save_text(path: Path, text: str, durable: bool = True) -> None:
    """Write `text` as UTF-8, atomically."""
    with replace_atomically(path, durable) as file:
        file.write(text.encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
