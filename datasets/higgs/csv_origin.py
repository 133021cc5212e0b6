"""HIGGS as csv, as what a cache is made of."""

import hashlib
from collections.abc import Iterator
from functools import partial

import numpy as np

from datasets.higgs.cache import Origin
from datasets.higgs.csv_blocks import read_blocks
from datasets.higgs.sources import HiggsSource
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress


def csv_origin(source: HiggsSource) -> Origin:
    """The cache of the file, or of its parts: of their names, sizes and times of change."""
    in_parts = len(source.parts) > 1
    resolved = hashlib.sha256(str(source.path.resolve()).encode()).hexdigest()
    return Origin(
        title="HIGGS",
        path=source.path,
        key=f"{source.path.name}-{resolved[:8]}",
        identity=_identity(source),
        making=f"reading {source.name}",
        changed=f"{'one of ' if in_parts else ''}{source.name} has changed",
        read=partial(_read, source),
    )


def _read(source: HiggsSource) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    before = _identity(source)
    size = sum(size for _, size, _ in before["files"])
    with byte_progress(f"reading {source.path.name}", size) as progress:
        yield from read_blocks(source.parts, progress.update)
    if _identity(source) != before:
        raise UserError(f"{source.path}: it changed while it was read; try again once it is whole")


def _identity(source: HiggsSource) -> dict:
    try:
        stats = [part.stat() for part in source.parts]
    except OSError as error:
        raise UserError(f"{source.path}: cannot be read ({error.strerror or error})") from error
    files = zip(source.parts, stats, strict=True)
    return {"files": [[part.name, stat.st_size, stat.st_mtime_ns] for part, stat in files]}
