"""A training on a table in memory: what the scripts train with, without files and flags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.back_projection.optimizer import JUDGE_EVERY, START_ROWS, BackProjection
from new_algorithm.back_projection.rows import EVALUATED_ROWS, RowsInMemory
from new_algorithm.back_projection.schedule import scheduled
from new_algorithm.back_projection.solvers import Penalties, decay_cost
from new_algorithm.back_projection.solvers.of_layers import layer_solvers
from new_algorithm.back_projection.step_control import control_of_steps

# eigenvectors of a table's features that are kept, the leading ones of wider tables: what would be
# noise in pictures may be a column that decides
MOST_DIRECTIONS = 1_000


@dataclass(frozen=True)
class Table:
    """Features x (n, d), targets (n,) or (n, m), and the rows' weights (n,), of mean 1, or None."""

    x: NDArray
    targets: NDArray
    row_weights: NDArray | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """batch_size: at most the number of rows. step_bounds: see control_of_steps. known_beforehand:
    whether the rows of the first epoch are those of all, so that the input layer is solved in their
    eigenvectors; otherwise with a moving average, and the steps follow no schedule."""

    penalties: Sequence[Penalties]
    batch_size: int
    step_bounds: tuple[float, float]
    momentum: float
    known_beforehand: bool = True


class Training:
    """A network in training; `epochs` goes on from where it is."""

    def __init__(
        self,
        table: Table,
        loss: Loss,
        weights: Sequence[NDArray],
        rng: np.random.Generator,
        settings: Settings,
    ) -> None:
        """weights: W̃_1 … W̃_L to begin with, on the features. rng: shuffles."""
        self._rng, self._settings = rng, settings
        weights, self._basis = list(weights), None
        if settings.known_beforehand:
            rank = min(table.x.shape[1] + 1, MOST_DIRECTIONS)
            self._basis, inputs = leading_eigenbasis(table.x, rank, row_weights=table.row_weights)
            weights[0] = self._basis.vectors.T @ weights[0]  # A of W̃_1 = Q A
        else:
            inputs = append_ones(table.x)
        self._rows = RowsInMemory(inputs, table.targets, table.row_weights)
        self._steps = len(table) // settings.batch_size
        solvers = layer_solvers(
            settings.penalties,
            [weight.shape for weight in weights],
            settings.batch_size,
            self._basis,
        )
        start = evaluate(loss, weights, [self._rows.first(START_ROWS)]).loss
        self.optimizer = BackProjection(
            weights,
            loss,
            solvers,
            control_of_steps(start + decay_cost(solvers, weights), settings.step_bounds),
            chunk_rows=settings.batch_size,
            momentum=settings.momentum,
            judge_every=min(JUDGE_EVERY, self._steps),
            every_loss=True,
        )

    def epochs(self, count: int) -> Iterator[float]:
        """Train for `count` passes over the rows; yield the mean loss of the batches of each."""
        schedule = scheduled("warm-up-decay" if self._settings.known_beforehand else "constant")
        steps, optimizer = self._steps, self.optimizer
        for _ in range(count):
            losses = []
            batches = self._rows.batches(self._rng, self._settings.batch_size)
            for batch in islice(batches, steps):
                scale = schedule(optimizer.iteration, count * steps)
                losses.append(optimizer.step(batch, scale).loss)
            told = [loss for loss in losses if loss is not None]
            yield float(np.mean(told)) if told else float("nan")

    @property
    def weights(self) -> list[NDArray]:
        """W̃ of each layer, on the features."""
        weights = self.optimizer.weights
        if self._basis is None:
            return [weight.copy() for weight in weights]
        return [weight.copy() for weight in self._basis.on_features(weights)]


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return a whole number itself, or one drawn from the state."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def outputs_of(weights: Sequence[NDArray], x: NDArray) -> NDArray:
    """Return F of rows x (n, d), some at a time, for W̃_1 … W̃_L on the features."""
    blocks = np.array_split(x, max(1, -(-len(x) // EVALUATED_ROWS)))
    return np.concatenate([forward(weights, append_ones(block))[1] for block in blocks])
