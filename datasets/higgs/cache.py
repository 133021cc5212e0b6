"""Rows in the form of HIGGS, kept from one run to the next as files that are mapped into memory.

A folder of the cache holds features.npy, float32 (n, 28) as read, labels.npy, int64 (n,), and for
each split that was asked for scaled_SPLIT.npy, float32, its training rows followed by its held-out
rows. All are written and read block by block: memory does not grow with the rows.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from datasets.higgs.cache_files import (
    Facts,
    UnfitError,
    discard,
    map_array,
    read_facts,
    write_facts,
    writing,
)
from datasets.higgs.form import FEATURES, count_test_rows
from datasets.higgs.npy_rows import NpyWriter
from datasets.local_folders import OWN_FOLDER
from datasets.mapped_pages import row_blocks
from datasets.npz_checks import check_scaled
from datasets.standardise import Standardiser
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress
from new_algorithm.record.files import replace_atomically

log = logging.getLogger(__name__)

CACHE = OWN_FOLDER / "cache"
FEATURES_FILE, LABELS_FILE = "features.npy", "labels.npy"
STEP = 1 << 16  # rows at a time
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Origin:
    """What the rows are made of.

    title: begins lines of the log. path: named in errors. key: name of the folder in the cache.
    identity: as it comes back from JSON; a cache with another one is built anew.
    making, changed: what building does, and why an old cache will not do, in words.
    read: yields features, float32 (n, 28), and labels, int64 (n,), of one block after another.
    """

    title: str
    path: Path
    key: str
    identity: dict[str, Any]
    making: str
    changed: str
    read: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows of an origin, in their order; features and labels are read-only maps."""

    origin: Origin
    folder: Path
    features: np.ndarray
    labels: np.ndarray
    facts: Facts

    def parts(self) -> dict[str, np.ndarray]:
        """x_train, y_train, x_test and y_test, not scaled."""
        end = len(self.labels) - count_test_rows(self.origin.path, len(self.labels))
        x, y = self.features, self.labels
        return {"x_train": x[:end], "y_train": y[:end], "x_test": x[end:], "y_test": y[end:]}


def open_rows(origin: Origin, cache_dir: Path | None = None) -> Rows:
    """The rows from the cache, in `CACHE` unless given, which is built unless a good one is there.

    UserError for rows that are not as they should be, which leaves an older cache as it was, and
    for a folder that cannot be written.
    """
    folder = (CACHE if cache_dir is None else cache_dir) / origin.key
    return _open(
        origin, folder, lambda: _map_rows(origin, folder), lambda: _build_rows(origin, folder)
    )


def open_scaled(
    rows: Rows, held_out: str, features: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """x_train and x_test of a split, of which `features` are the rows unscaled, as read-only maps.

    They are standardised by x_train, and kept under the name `held_out`. UserError if any value
    leaves the range of float32.
    """
    scaled = _open(
        rows.origin,
        rows.folder,
        lambda: _map_scaled(rows, held_out),
        lambda: _build_scaled(rows, held_out, features),
    )
    end = len(features["x_train"])
    return {"x_train": scaled[:end], "x_test": scaled[end:]}


def verify_rows(rows: Rows) -> Rows:
    """The rows, once all bytes are known to be those that were written; otherwise built anew."""
    damaged = [] if _hashes(rows) == rows.facts.sha256 else ["features.npy or labels.npy"]
    for held_out, facts in rows.facts.scaled.items():
        try:
            if _sha256(_map_scaled(rows, held_out)) != facts["sha256"]:
                damaged.append(_scaled_name(held_out))
        except UnfitError:  # it is made anew when it is asked for
            continue
    if not damaged:
        return rows
    log.info("%s cache: damaged, %s", rows.origin.title, " and ".join(damaged))
    with writing(rows.folder, rows.origin.title):
        discard(rows.folder)
    return open_rows(rows.origin, rows.folder.parent)


def _open(
    origin: Origin, folder: Path, read: Callable[[], Opened], build: Callable[[], None]
) -> Opened:
    """What `read` gives, if need be after this or another process has built it."""
    try:
        return read()
    except UnfitError:
        pass
    with writing(folder, origin.title):
        try:
            return read()  # another process may have built it in the meantime
        except UnfitError as reason:
            log.info("%s cache: %s", origin.title, reason)
        try:
            build()
            return read()
        except UnfitError as reason:
            raise UserError(f"{folder}: spoilt while it was made ({reason}); try again") from None


def _map_rows(origin: Origin, folder: Path) -> Rows:
    facts = read_facts(folder)
    if facts is None:
        raise UnfitError(f"{origin.making}, once for this and all later runs")
    if facts.source != origin.identity:
        raise UnfitError(f"built anew, {origin.changed} since")
    rows = _map_arrays(origin, folder, facts)
    if read_facts(folder) != facts:
        raise UnfitError("built anew, it was being replaced")
    return rows


def _map_arrays(origin: Origin, folder: Path, facts: Facts) -> Rows:
    features = map_array(folder, FEATURES_FILE, np.float32, (facts.rows, FEATURES))
    labels = map_array(folder, LABELS_FILE, np.int64, (facts.rows,))
    return Rows(origin, folder, features, labels, facts)


def _build_rows(origin: Origin, folder: Path) -> None:
    with (
        replace_atomically(folder / FEATURES_FILE) as features_file,
        replace_atomically(folder / LABELS_FILE) as labels_file,
    ):
        features = NpyWriter(features_file, np.float32, (FEATURES,))
        labels = NpyWriter(labels_file, np.int64)
        for x, y in origin.read():
            features.append(x)
            labels.append(y)
        count_test_rows(origin.path, labels.rows)  # refused before anything is replaced
        features.finish()
        labels.finish()
        discard(folder)
    unhashed = Facts(origin.identity, labels.rows, sha256={})
    rows = _map_arrays(origin, folder, unhashed)
    write_facts(folder, replace(unhashed, sha256=_hashes(rows)))


def _map_scaled(rows: Rows, held_out: str) -> np.ndarray:
    facts = read_facts(rows.folder)
    if facts is None or facts.source != rows.origin.identity:
        raise UnfitError("replaced by another process")
    if held_out not in facts.scaled:
        raise UnfitError(f"standardising for {held_out}, once for this and all later runs")
    shape = (facts.scaled[held_out]["rows"], FEATURES)
    return map_array(rows.folder, _scaled_name(held_out), np.float32, shape)


def _build_scaled(rows: Rows, held_out: str, features: Mapping[str, np.ndarray]) -> None:
    standardise = Standardiser.fit(features["x_train"])
    count = sum(map(len, features.values()))
    path = rows.folder / _scaled_name(held_out)
    with (
        replace_atomically(path) as file,
        byte_progress("standardising", sum(x.nbytes for x in features.values())) as progress,
    ):
        scaled = NpyWriter(file, np.float32, (FEATURES,))
        for key, x in features.items():
            for _, block in standardise.blocks(x):
                scaled.append(check_scaled(rows.origin.path, key, block))
                progress.update(block.nbytes)
        scaled.finish()
    made = {
        "rows": count,
        "mean": standardise.mean.tolist(),
        "sd": [sd if np.isfinite(sd) else None for sd in standardise.sd.tolist()],
        "sha256": _sha256(map_array(rows.folder, path.name, np.float32, (count, FEATURES))),
    }
    facts = read_facts(rows.folder)
    if facts is None or facts.source != rows.origin.identity:
        raise UnfitError("replaced by another process")
    write_facts(rows.folder, replace(facts, scaled={**facts.scaled, held_out: made}))


def _scaled_name(held_out: str) -> str:
    return f"scaled_{held_out}.npy"


def _hashes(rows: Rows) -> dict[str, str]:
    return {name: _sha256(part) for name, part in rows.parts().items()}


def _sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256()
    for _, block in row_blocks(array, STEP):
        digest.update(block)
    return digest.hexdigest()
