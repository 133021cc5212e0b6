"""The values of a table, in memory, or in the cache where the file is large.

The cache holds features.npy with targets.npy, float64, described by table.json.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.cached_arrays import Built, CachedArrays, Place
from datasets.dataset import hash_arrays
from datasets.preprocessing import Column
from datasets.table.columns import survey, values_of
from datasets.table.options import TableOptions, check_table
from new_algorithm.cli.errors import UserError

STREAMED_FROM_BYTES = 1 << 28  # of a file; a quarter where it is compressed
COMPRESSED = (".gz", ".parquet")


class Rows(NamedTuple):
    """features: (n, columns), as a Preprocessing takes them. targets: (n, targets), likewise."""

    columns: list[Column]
    target_columns: list[Column]
    features: NDArray
    targets: NDArray
    sha256: dict[str, str]
    place: Place | None


def read_table(path: Path, options: TableOptions, streamed_from: int) -> Rows:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    factor = 4 if path.suffix.lower() in COMPRESSED else 1
    if factor * stat.st_size < streamed_from:
        columns, targets, blocks = _values(path, options)
        features, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        hashes = hash_arrays({"features": features, "targets": y})
        return Rows(columns, targets, features, y, hashes, None)
    asked = asdict(options) | {"file": str(path.resolve())}
    key = f"{path.name}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:8]}"
    place = Place(path.name, path, key, f"{path.name} has changed")
    cached = CachedArrays(
        place,
        "table",
        {"size": stat.st_size, "time": stat.st_mtime_ns},
        f"reading {path.name}",
        build=lambda: _built(path, options),
        parts=lambda features, targets: {"features": features, "targets": targets},
    ).open()
    columns, targets = (list(map(Column.from_json, cached.about[key])) for key in ("columns", "of"))
    return Rows(
        columns, targets, cached.parts["features"], cached.parts["targets"], cached.sha256, place
    )


def _values(
    path: Path, options: TableOptions
) -> tuple[list[Column], list[Column], Iterator[tuple[NDArray, NDArray]]]:
    file, features = check_table(path, options)
    columns = survey(file, [*features, *options.target], options.target)
    end = len(features)
    blocks = values_of(file, columns, options.missing, whole=options.target)
    return columns[:end], columns[end:], ((block[:, :end], block[:, end:]) for block in blocks)


def _built(path: Path, options: TableOptions) -> Built:
    columns, targets, blocks = _values(path, options)
    of = {"columns": [c.to_json() for c in columns], "of": [c.to_json() for c in targets]}
    forms = {"features": (np.float64, (len(columns),)), "targets": (np.float64, (len(targets),))}
    return Built(forms, blocks, of)
