"""A pass over a batch, which is a sequence of chunks: the forward pass, its loss, and the sweep.

`WholePass` is for batches of one chunk, and can do all that a sweep can. `StreamedPass` takes any
number of chunks, of any sizes, in memory that depends on the largest alone, and adds up over
processes; it passes Δ down whole, and all layers change at once.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.metrics import Chunk
from new_algorithm.back_projection.sweep import Sweep
from new_algorithm.back_projection.sweep_sums import AllSum, SweepSums
from new_algorithm.back_projection.workspace import Workspace

Batch = Iterable[Chunk]  # may be gone through again


class WholePass:
    """workspace: as large as the batches."""

    def __init__(self, sweep: Sweep, workspace: Workspace, loss: Loss) -> None:
        self._sweep, self._workspace, self._loss = sweep, workspace, loss

    def sweep(
        self,
        layers: Sequence[NDArray],
        batch: Batch,
        damping: float = 1.0,
        after_layer: Callable[[int], None] | None = None,
        with_loss: bool = True,
    ) -> float | None:
        """Fill the sweep's moments, changes and slope; return the loss before, where it is wanted.

        Raises NumericalError.
        """
        ((inputs, targets),) = batch
        workspace, loss = self._workspace, self._loss
        workspace.inputs = inputs
        output = workspace.forward(layers)
        before = loss.value(output, targets) if with_loss else None
        self._sweep.observe(layers, workspace, damping)
        self._sweep(layers, workspace, loss.residual(output, targets), after_layer)
        return before

    def loss(self, layers: Sequence[NDArray], batch: Batch) -> float:
        """Return the loss of the batch alone."""
        ((inputs, targets),) = batch
        self._workspace.inputs = inputs
        return self._loss.value(self._workspace.forward(layers), targets)


class StreamedPass:
    """workspace: as large as the largest chunk. all_sum: None where there is one process."""

    def __init__(
        self, sweep: Sweep, workspace: Workspace, loss: Loss, all_sum: AllSum | None = None
    ) -> None:
        self._sweep, self._workspace, self._loss = sweep, workspace, loss
        self._all_sum = all_sum
        self._sums = SweepSums(sweep.moments)

    def sweep(
        self,
        layers: Sequence[NDArray],
        batch: Batch,
        damping: float = 1.0,
        after_layer: None = None,
        with_loss: bool = True,
    ) -> float:
        """As `WholePass.sweep`; the loss costs nothing here."""
        sweep, sums = self._sweep, self._sums
        sweep.begin(layers, damping, sums)
        for inputs, targets in batch:
            if not len(inputs):
                continue  # the mean of no losses is NaN
            workspace = self._workspace.first(len(inputs))
            workspace.inputs = inputs
            output = workspace.forward(layers)
            sums.losses += len(inputs) * self._loss.value(output, targets)
            sweep.add(layers, workspace, self._loss.residual(output, targets), sums)
        if self._all_sum is not None:
            sums.reduce(self._all_sum)
        sweep.solve(layers, sums)
        return sums.losses / sums.rows

    def loss(self, layers: Sequence[NDArray], batch: Batch) -> float:
        """Return the loss of the batch alone."""
        counts = np.zeros(2)  # rows, losses
        for inputs, targets in batch:
            workspace = self._workspace.first(len(inputs))
            workspace.inputs = inputs
            value = self._loss.value(workspace.forward(layers), targets) if len(inputs) else 0.0
            counts += len(inputs), len(inputs) * value
        if self._all_sum is not None:
            self._all_sum(counts)
        return float(counts[1] / counts[0])
