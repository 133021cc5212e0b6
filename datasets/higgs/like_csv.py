"""Generated rows written in the layout in which UCI offers HIGGS."""

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from datasets.higgs.arrow_csv import arrow_writer
from datasets.higgs.form import FEATURES
from datasets.higgs.like_rows import draw_with_progress
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import replace_atomically

GZIP_LEVEL = 1  # random digits hardly shrink any further
NUMBER = "%.18e"  # as UCI writes them


def write_higgs_like(path: Path, rows: int, seed: int) -> None:
    """Write the rows as csv, gzipped where the name ends in .gz; `path` is whole or not there.

    UserError if there is such a file already, or if it cannot be written.
    """
    if path.exists():
        raise UserError(f"{path}: exists already; delete it, or choose another name")
    try:
        with replace_atomically(path) as file:
            _write(file, path.suffix == ".gz", rows, seed)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); make room there, or choose "
            "another folder"
        ) from error


def _write(file: BinaryIO, zipped: bool, rows: int, seed: int) -> None:
    with ExitStack() as stack:
        if zipped:
            file = stack.enter_context(
                gzip.GzipFile("", "wb", GZIP_LEVEL, fileobj=file, mtime=0)
            )  # no name and no time in it: the same rows make the same file
        write = arrow_writer(file, 1 + FEATURES)
        for x, y in draw_with_progress(rows, seed):
            block = np.column_stack([y, x.astype(np.float64)])
            if write is not None:
                write(block)
            else:
                np.savetxt(file, block, fmt=NUMBER, delimiter=",")
