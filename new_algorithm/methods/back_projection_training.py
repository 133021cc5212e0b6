"""All that the loop of a training needs: the network, its optimizer, and its rows."""

from collections.abc import Iterator
from copy import copy
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.mapped_files import row_blocks
from datasets.streamed_rows import StreamedRows
from new_algorithm.back_projection.batch import Batch, rows_of_batch
from new_algorithm.back_projection.diagnostics import EpochSummary, diagnose
from new_algorithm.back_projection.eigenbasis import (
    Eigenbasis,
    leading_eigenbasis,
    streamed_eigenbasis,
)
from new_algorithm.back_projection.metrics import Scores, evaluate
from new_algorithm.back_projection.optimizer import (
    MOST_ROLLBACKS,
    START_ROWS,
    BackProjection,
    judge_interval,
)
from new_algorithm.back_projection.rows import RowsInMemory
from new_algorithm.back_projection.schedule import decay_of_a_run, scheduled
from new_algorithm.back_projection.solvers import decay_cost
from new_algorithm.back_projection.state import State, nested, part
from new_algorithm.back_projection.sweep import NumericalError
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.ranks import Ranks, shard
from new_algorithm.cli.signals import whole_steps
from new_algorithm.methods.back_projection_defaults import following
from new_algorithm.methods.back_projection_settings import (
    Settings,
    control_of,
    loss_in_training,
    right_factors_of,
    solvers_of,
)
from new_algorithm.methods.method import Epoch, Problem
from new_algorithm.record.clock import TrainingClock

Rows = RowsInMemory | StreamedRows


class Training:
    """A network, its optimizer, and this process's rows in the eigenbasis of all of them.

    epoch: how many are done. steps: of the epoch under way. clock: of the training, eigenvectors
    included, evaluation not. sent_bytes: handed to sums by this rank's steps, in the last epoch.
    """

    def __init__(
        self,
        settings: Settings,
        problem: Problem,
        chunk_rows: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """settings: what they leave open follows. chunk_rows: None where all rows are in
        memory, as chunks.py decides."""
        samples = len(problem.data.x_train)
        settings = following(settings, samples, problem.widths, in_chunks=bool(chunk_rows))
        assert settings.batch_size is not None
        assert settings.target is not None
        assert settings.outer is not None
        assert settings.warm_up is not None
        assert settings.momentum is not None
        self.ranks = ranks = ranks or Ranks()
        self.epoch, self.sent_bytes, self.clock = 0, 0, TrainingClock()
        data, self.loss = problem.data, problem.loss
        batch_size = rows_of_batch(settings.batch_size, samples)
        self.last_epoch, self._passes = problem.epochs, problem.passes(batch_size)
        self._schedule = scheduled(settings.schedule, settings.warm_up)
        self._dtype = settings.dtype
        self._chunk_rows = chunk_rows
        with self.clock:
            self.basis, projected = eigenbasis(settings, data.x_train, chunk_rows, ranks)
            self.rows = self._in_basis(data.x_train, data.y_train, projected)
            self.rng, weights = problem.start(settings.dtype)
            weights[0] = self.basis.vectors.T @ weights[0]  # A of W̃_1 = Q A
            self._batch_rows = batch_size * len(self.rows) // samples  # of this rank
            self._sample = self.rows.first(START_ROWS)  # they are diagnosed too
            # a shard's first rows say nothing to the other ranks
            loss = loss_in_training(settings, problem.trained_loss)
            start = evaluate(loss, weights, [self._sample]).loss if not chunk_rows else np.inf
            solvers = solvers_of(settings, self.basis, weights, batch_size, bool(chunk_rows))
            start += decay_cost(solvers, weights)
            every = judge_interval(self._passes.batches, batch_size)
            self.optimizer = BackProjection(
                weights,
                loss,
                solvers,
                control_of(settings, self.loss, start, batch_size),
                chunk_rows=min(chunk_rows or self._batch_rows, self._batch_rows),
                in_chunks=bool(chunk_rows),
                outer=settings.outer,
                momentum=settings.momentum,
                right_factors=right_factors_of(settings, weights, batch_size, bool(chunk_rows)),
                decoupled_decay=self._decay_beside_steps(settings),
                target=settings.target,
                order=settings.order,
                pass_down=settings.pass_down,
                judge_every=settings.judge_every or every,
                all_sum=ranks.all_sum,
            )
        self.held_out = self._in_basis(data.x_test, data.y_test)
        if ranks.rank > 0:  # which shuffles its own shard
            self.rng = np.random.default_rng([problem.seed, 2, ranks.rank, 1])
        self._begin_pass()
        self._begin_epoch()

    def _decay_beside_steps(self, settings: Settings) -> float:
        """Return α of W ← (1 − α) W beside each full step of this run."""
        assert settings.decoupled_decay is not None
        if settings.eta is not None:
            return settings.decoupled_decay
        return decay_of_a_run(settings.decoupled_decay, self._passes.steps(self.last_epoch))

    def _in_basis(self, x: NDArray, y: NDArray, projected: NDArray | None = None) -> Rows:
        """Return this rank's part of the rows x (n, d), in chunks, or in memory as X̃ Q."""
        basis, dtype, ranks = self.basis, self._dtype, self.ranks
        if self._chunk_rows is not None:
            mine, rank = shard(len(x), ranks.rank, ranks.size), len(basis.values)
            return StreamedRows(x[mine], y[mine], basis.project, rank, self._chunk_rows, dtype)
        inputs = basis.project(x.astype(dtype)) if projected is None else projected
        return RowsInMemory(inputs, y.astype(dtype, copy=False) if y.dtype.kind == "f" else y)

    def epochs(self) -> Iterator[Epoch]:
        """Train to the last epoch; yield after each. The loop is that of n_layer_relu_data.py."""
        while self.epoch < self.last_epoch:
            with self.clock:
                for batch in whole_steps(self.batches):
                    self.step(batch)
            steps = self.end_epoch()
            yield Epoch(self.epoch, copy(self.clock), self.weights, self.evaluate)
            self.check_progress(steps)

    def _begin_pass(self, steps_done: int = 0) -> None:
        """Shuffle, and leave out the batches of the steps that are done."""
        self._shuffle = self.rng.bit_generator.state
        drawn = self.rows.batches(self.rng, self._batch_rows)
        self._left_of_pass = islice(drawn, steps_done, self._passes.batches)

    def _begin_epoch(self, steps_done: int = 0, sent_bytes: int = 0) -> None:
        """batches: those of the epoch that are left, this rank's part of each."""
        self.steps = EpochSummary()
        self._steps_done, self._sent_bytes = steps_done, sent_bytes
        self.batches = islice(self._left_of_pass, self.steps_left)

    def step(self, batch: Batch) -> None:
        """Make one step over the next of `batches`."""
        before = self.ranks.sent_bytes
        self.steps.add(self.optimizer.step(batch, self.lr_scale))
        self._sent_bytes += self.ranks.sent_bytes - before
        self._steps_done += 1

    def end_epoch(self) -> EpochSummary:
        """Begin the next epoch; return the steps of this one."""
        steps = self.steps
        self.epoch, self.sent_bytes = self.epoch + 1, self._sent_bytes
        if self.epoch % self._passes.parts == 0:
            self._begin_pass()
        self._begin_epoch()
        return steps

    @property
    def steps_left(self) -> int:
        """Of the epoch under way."""
        return self._passes.steps_of(self.epoch + 1) - self._steps_done

    @property
    def lr_scale(self) -> float:
        """What the schedule scales the next step by, in [0, 1]."""
        return self._schedule(self.optimizer.iteration, self._passes.steps(self.last_epoch))

    def lengthened(self, earlier_epochs: int) -> str:
        """Say what the schedule does where so many epochs were to be all."""
        iteration, steps = self.optimizer.iteration, self._passes.steps(earlier_epochs)
        before = self._schedule(max(iteration - 1, 0), steps)
        return (
            f"that of {self.last_epoch} epochs, where it was that of {earlier_epochs}: the factor "
            f"on the step size goes on from {self.lr_scale:.3g}, where it ended at {before:.3g}"
            "; the decay beside controlled steps is what follows from so many"
        )

    def check_progress(self, steps: EpochSummary) -> None:
        """DivergedError where one step after another has had to be taken back, all at the end."""
        in_a_row, judged = self.optimizer.rollbacks_in_a_row, self.optimizer.judgements
        none_kept = in_a_row == self.optimizer.rollbacks >= judged
        if in_a_row > MOST_ROLLBACKS or (none_kept and self.epoch == self.last_epoch):
            iteration, error = steps.troubles[-1]
            raise DivergedError(
                f"epoch {self.epoch}: {in_a_row} steps in a row had to be taken back, the last in "
                f"iteration {iteration}, {error}; weights.npz holds those before them: raise "
                "--lambda-w-layers, or lower --step-size or --step-bounds"
            )

    @property
    def weights(self) -> list[NDArray]:
        """W̃ of each layer, on the features as they are."""
        return self.basis.on_features(self.optimizer.weights)

    def evaluate(self, steps: EpochSummary | None = None) -> tuple[Scores, Scores]:
        """Return the scores on the training rows and the held-out ones.

        Where the train loss is not finite the weights go back first; `steps` learns of that.
        """
        train = self._scores(self.rows)
        if not np.isfinite(train.loss):  # harm since the last judgement
            error = NumericalError(len(self.optimizer.weights), f"the loss is {train.loss}")
            if steps is not None:
                steps.troubles.append((self.optimizer.iteration, error))
            self.optimizer.rollback()
            train = self._scores(self.rows)
        return train, self._scores(self.held_out)

    @np.errstate(over="ignore", invalid="ignore")  # the loss shows it
    def _scores(self, rows: Rows) -> Scores:
        return evaluate(self.loss, self.optimizer.weights, rows.chunks(), self.ranks.all_sum)

    @np.errstate(over="ignore", invalid="ignore")
    def diagnose(self) -> dict[str, list[float]]:
        """Return the diagnostics of every layer on a few rows."""
        it = self.optimizer
        return diagnose(it.weights, *self._sample, it.sweep, self.loss, it.control.step_size)

    def agree(self) -> bool:
        """Return whether all ranks hold the same weights; if not, all take those of rank 0."""
        flat = np.concatenate([weight.ravel() for weight in self.optimizer.weights])
        if self.ranks.same_everywhere(flat):
            return True
        self.optimizer.load_state_dict(self.ranks.from_first(self.optimizer.state_dict()))
        return False

    def state_dict(self) -> tuple[State, dict[str, Any]]:
        """Return arrays and facts, from which a training continues to the bit. All ranks call."""
        facts = {
            "epoch": self.epoch,
            "clock": (self.clock.cpu_seconds, self.clock.wall_seconds),
            "steps_done": self._steps_done,
            "sent_bytes": self._sent_bytes,
            "shuffles": self.ranks.gather(self._shuffle),  # as they were when the pass began
        }
        arrays = nested("optimizer", self.optimizer.state_dict())
        arrays |= nested("steps", self.steps.state_dict())
        return arrays | {"basis": self.basis.vectors}, facts

    def load_state_dict(self, arrays: State, facts: dict[str, Any]) -> None:
        """Continue where another training with the same settings was. UserError for other ranks."""
        shuffles = facts["shuffles"]
        if len(shuffles) != self.ranks.size:
            raise UserError(
                f"--resume: the run had {len(shuffles)} processes, now there are "
                f"{self.ranks.size}: start as many as before"
            )
        self.optimizer.load_state_dict(part("optimizer", arrays))
        if not np.array_equal(arrays["basis"], self.basis.vectors):  # found with another rounding
            self.optimizer.rotate_input(self.basis.vectors.T @ arrays["basis"])
        self.rng.bit_generator.state = shuffles[self.ranks.rank]
        self.epoch = facts["epoch"]
        self.clock = TrainingClock(*facts["clock"])
        steps_done = facts.get("steps_done", 0)  # older checkpoints are of an epoch's end alone
        self._begin_pass(self._passes.steps(self.epoch % self._passes.parts) + steps_done)
        self._begin_epoch(steps_done, facts.get("sent_bytes", 0))
        if steps_done:
            self.steps = EpochSummary.of_state(part("steps", arrays))


def eigenbasis(
    settings: Settings, x: NDArray, chunk_rows: int | None, ranks: Ranks
) -> tuple[Eigenbasis, NDArray | None]:
    """Return the eigenbasis of all rows x (n, d), and X̃ Q (n, rank) where they are in memory."""
    rank = settings.input_rank
    if chunk_rows is None:
        return leading_eigenbasis(x.astype(settings.dtype, copy=False), rank)
    mine = x[shard(len(x), ranks.rank, ranks.size)]
    pieces = (block for _, block in row_blocks(mine, chunk_rows))
    return streamed_eigenbasis(pieces, x.shape[1], rank, settings.dtype, ranks.all_sum), None
