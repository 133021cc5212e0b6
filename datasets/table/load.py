"""A table in a file as a `Dataset`: columns chosen, rows split, features and targets prepared.

A large file goes through the cache: features.npy with targets.npy hold its values in float64,
described by table.json, and scaled_SPLIT.npy what the network sees in float32. A smaller one stays
in memory; the numbers are the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.cached_arrays import Built, CachedArrays
from datasets.dataset import TEST_DIVISOR, Dataset, Split
from datasets.preprocessing import Missing, Preprocessing, chosen_blocks
from datasets.table.options import TableOptions
from datasets.table.rows import STREAMED_FROM_BYTES, Rows, read_table
from datasets.tabular import check_scaled, fit_targets
from datasets.targets import Label, as_task, check_classes, label_codes, plain_labels
from new_algorithm.cli.errors import UserError

SCALING = (
    "texts one-hot; features standardised with the mean and standard deviation of all training "
    "rows that are not held out"
)


def load_table(
    path: Path, options: TableOptions, split: Split, streamed_from: int = STREAMED_FROM_BYTES
) -> Dataset:
    """The rows of a table, a fifth of them, drawn of each class alike, being the test set.

    A file of `streamed_from` bytes or more is read once, into the cache, and its features are
    read-only maps of it. UserError for whatever the user can correct.
    """
    rows = read_table(path, options, streamed_from)
    what = f"{path}: target {', '.join(map(repr, options.target))}"
    labels, targets = _learned(what, rows, options)
    strata = targets if labels else np.zeros(len(targets))
    training, held_out = split.draw(path, strata)
    split.check_batch(len(strata) - len(strata) // TEST_DIVISOR)
    y: dict[str, Any] = {"y_train": targets[training], "y_test": targets[held_out]}
    scale = None
    if labels:
        check_classes(what, labels, y["y_train"], y["y_test"])
    else:
        scale = fit_targets(y["y_train"])
        y = {key: check_scaled(path, key, scale(array)) for key, array in y.items()}
    how = split.words(len(strata), bool(labels))
    x, preprocessing = _prepared(path, rows, options.missing, split, training, held_out)
    parts: Any = split.limit(x | y)
    return Dataset(
        **parts,
        name=path.name,
        num_classes=len(labels) if labels else None,
        held_out=split.held_out,
        source=f"the file {path.name}{_through_cache(rows)}; {how}",
        scaling=SCALING + ("" if labels else ", and targets likewise"),
        sha256=rows.sha256,
        target_scale=scale,
        target_names=options.target,
        labels=labels,
        preprocessing=preprocessing,
    )


def _learned(
    what: str, rows: Rows, options: TableOptions
) -> tuple[tuple[Label, ...] | None, NDArray]:
    """The labels of classes with their codes (n,); or None and quantities, float64 (n, targets)."""
    columns, values = rows.target_columns, np.array(rows.targets)
    if any(column.categories is not None for column in columns):
        if len(columns) > 1:
            raise UserError(f"{what} hold texts: give one --target with the names of the classes")
        labels = columns[0].categories or ()
        as_task(what, np.array(labels), options.task)  # texts are no quantities
        return labels, values[:, 0].astype(np.int64)
    task, values = as_task(what, values, options.task)
    if task == "regression":
        return None, values
    if len(columns) > 1:  # one-hot
        return options.target, values.astype(np.int64)
    known = np.unique(values)
    return plain_labels(known), label_codes(known, values)


def _prepared(
    path: Path,
    rows: Rows,
    missing: Missing,
    split: Split,
    training: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
) -> tuple[dict[str, NDArray], Preprocessing]:
    """x_train and x_test, and what made them of the columns."""

    def fit() -> tuple[Preprocessing, Iterator[tuple[NDArray]]]:
        fitted = Preprocessing.fit(rows.columns, rows.features, training, missing)

        def blocks() -> Iterator[tuple[NDArray]]:
            for key, chosen in (("x_train", training), ("x_test", held_out)):
                for block in chosen_blocks(rows.features, chosen, fitted.block_rows):
                    yield (check_scaled(path, key, fitted.transform(block)),)

        return fitted, blocks()

    if rows.place is None:
        preprocessing, blocks = fit()
        scaled = np.concatenate([block for (block,) in blocks])
    else:
        name = f"scaled_{split.held_out}"

        def build() -> Built:
            fitted, blocks = fit()
            form = {name: (np.float32, (len(fitted.means),))}
            return Built(form, blocks, fitted.to_json())

        cached = CachedArrays(
            rows.place,
            name,
            {"rows": rows.sha256, "columns": [column.to_json() for column in rows.columns]},
            f"preparing {path.name} for {split.held_out}",
            build=build,
            parts=lambda scaled: {"scaled": scaled},
        ).open()
        scaled, preprocessing = cached.parts["scaled"], Preprocessing.from_json(cached.about)
    end = int(training.sum())
    return {"x_train": scaled[:end], "x_test": scaled[end:]}, preprocessing


def _through_cache(rows: Rows) -> str:
    return "" if rows.place is None else ", streamed through datasets/cache/"
