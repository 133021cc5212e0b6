"""The predictions for the rows of a file, written as CSV block by block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.new_rows import NewRows
from datasets.preprocessing import UNKNOWN
from new_algorithm.cli.endings import unwritable
from new_algorithm.cli.errors import UserError
from new_algorithm.prediction.answers import Counted
from new_algorithm.prediction.trained_network import TrainedNetwork
from new_algorithm.record.files import replace_atomically


class Predicted(NamedTuple):
    """rows: predicted. scores: against the targets, where the file has them. unknown: how many
    texts of a column were none of its categories, by column."""

    rows: int
    scores: Counted
    unknown: dict[str, int]


def predict(network: TrainedNetwork, new: NewRows, output: Path | None) -> Predicted:
    """Go through the rows once; write what is predicted of each to `output`, in their order."""
    rows, scores, unknown = 0, network.answer.scores(), dict[str, int]()
    with _writer(output, network) as write:
        for table, targets in new.blocks:
            _count_unknown(network, table, unknown)
            for part, outputs in network.outputs(table):
                rows += len(outputs)
                write(list(network.answer.cells(outputs)))
                if targets is not None:
                    scores.add(outputs, targets[part])
    return Predicted(rows, scores, unknown)


def _count_unknown(network: TrainedNetwork, table: NDArray, unknown: dict[str, int]) -> None:
    for place, column in enumerate(network.preprocessing.columns):
        if column.categories is not None and (count := int((table[:, place] == UNKNOWN).sum())):
            unknown[column.name] = unknown.get(column.name, 0) + count


@contextmanager
def _writer(
    path: Path | None, network: TrainedNetwork
) -> Iterator[Callable[[list[NDArray]], None]]:
    """Yield what writes columns of cells; the file appears when all is written."""
    if path is None:
        yield lambda cells: None
        return
    import pyarrow as arrow  # half a second
    from pyarrow import csv

    empty = np.zeros((0, network.weights[-1].shape[1]), network.weights[-1].dtype)
    headers = network.answer.headers
    kinds = [arrow.array(cells).type for cells in network.answer.cells(empty)]
    schema = arrow.schema(list(zip(headers, kinds, strict=True)))
    try:
        with replace_atomically(path) as file, csv.CSVWriter(file, schema) as writer:
            yield lambda cells: writer.write_batch(
                arrow.record_batch([arrow.array(one) for one in cells], schema=schema)
            )
    except OSError as error:
        raise UserError(unwritable(error, path)) from error
