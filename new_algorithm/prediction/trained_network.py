"""A trained ReLU network with all that new rows need, from the record of its run alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.new_rows import recorded_preprocessing
from datasets.preprocessing import Preprocessing
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.back_projection.rows import EVALUATED_ROWS, in_chunks
from new_algorithm.cli.errors import UserError
from new_algorithm.prediction.answers import Answer, answer_of
from new_algorithm.record.fitting import fitting
from new_algorithm.record.kept_run import RELU_SCRIPTS, KeptRun, layers_of


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """weights: W̃ of each layer. dropped: columns of the training file that were left out."""

    preprocessing: Preprocessing
    weights: list[NDArray]
    answer: Answer
    dropped: tuple[str, ...] = ()

    def outputs(self, table: NDArray) -> Iterator[tuple[slice, NDArray]]:
        """Yield outputs F (rows, m) of a table (n, columns) as a Preprocessing takes it, of one
        block of rows after another, and which those are."""
        start, rows_at_once = 0, min(self.preprocessing.block_rows, EVALUATED_ROWS)
        for block, _ in in_chunks(table, table, rows_at_once):
            x = self.preprocessing.transform(block)
            rows = slice(start, start + len(block))
            yield rows, forward(self.weights, append_ones(x))[1]
            start = rows.stop


def trained_network(run: KeptRun, which: str | None) -> tuple[TrainedNetwork, str]:
    """The network of a run, and a sentence on which it is. which: see KeptRun.weights_of.

    UserError where the run is of another kind, its weights are missing, or its record does not say
    how rows were prepared.
    """
    if run.script not in RELU_SCRIPTS:
        raise UserError(
            f"{run.tag}: {run.script or 'this'} leaves no network that predicts; name a run of "
            f"{', '.join(RELU_SCRIPTS)}"
        )
    with fitting(f"{run.tag}: {run.where}/ does not hold what predictions need", "repeat the run"):
        return _read(run, which)


def _read(run: KeptRun, which: str | None) -> tuple[TrainedNetwork, str]:
    data = run.record["data"]
    preprocessing = recorded_preprocessing(data)
    if preprocessing is None:
        raise UserError(
            f"{run.tag}: {run.where}/run.json does not say how rows were prepared, as older "
            f"records do not: {run.again}"
        )
    path, epoch = run.weights_of(which)
    try:
        weights = layers_of(run.read(path))
    except KeyError as error:
        raise UserError(f"{run.tag}: {path.name} has no {error}: {run.again}") from error
    last = run.record["final_metrics"].get("epoch", 0)
    dropped = tuple(run.record["config"].get("drop", ()))
    network = TrainedNetwork(preprocessing, weights, answer_of(data), dropped)
    if len(weights[0]) - 1 != len(preprocessing.means):
        raise UserError(
            f"{run.tag}: {path.name} takes {len(weights[0]) - 1} features, the record names "
            f"{len(preprocessing.means)}: {run.again}"
        )
    _try_a_row(network)
    name = path.relative_to(run.folder).as_posix()
    return network, f"{run.where}/{name}, epoch {epoch} of {last}"


def _try_a_row(network: TrainedNetwork) -> None:
    """ValueError, or what NumPy raises, where columns, weights and answer do not fit together."""
    row = np.zeros((1, len(network.preprocessing.columns)))
    for _, outputs in network.outputs(row):
        columns = len(list(network.answer.cells(outputs)))
        if columns != len(network.answer.headers):
            raise ValueError(f"{columns} answers in place of {len(network.answer.headers)}")
