"""The epochs of methods that train weights: their inputs, what is timed, the weights' scores."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.metrics import Scores, evaluate, score
from new_algorithm.back_projection.network import append_ones
from new_algorithm.back_projection.rows import in_chunks
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.methods.method import (
    Choice,
    Epoch,
    Predict,
    Problem,
    Settings,
    Trained,
    TrainedModel,
    Weights,
)
from new_algorithm.record.clock import TrainingClock

AS_THEY_ARE, UNIT_RANGE, EIGENVECTORS = "as they are", "in [0, 1]", "eigenvectors"
INPUTS = Choice((EIGENVECTORS, AS_THEY_ARE))  # what a search may try
INPUT_RANK = 60  # eigenvectors

Train = Callable[[Problem, Settings], Iterator[Trained]]
Unfold = Callable[[Sequence[NDArray]], list[NDArray]]  # weights on other inputs → on the features


def scores_of(loss: Loss, weights: Weights, x: NDArray, y: NDArray) -> Scores:
    """Return the scores of these weights on the rows x (n, d), evaluated in chunks."""
    chunks = ((append_ones(inputs), targets) for inputs, targets in in_chunks(x, y))
    return evaluate(loss, weights, chunks)  # all of X̃ at once would double the memory


def predicted_scores(loss: Loss, predict: Predict, x: NDArray, y: NDArray) -> Scores:
    """Return the scores of what a model predicts; of sequences each place counts as a row."""
    labels = y.reshape(-1) if np.issubdtype(y.dtype, np.integer) else y
    return score(loss, [(predict(x), labels)])


def train_in_epochs(train: Train, problem: Problem, settings: Settings) -> Iterator[Epoch]:
    """Train on the inputs that the settings name, and yield after each epoch.

    The inputs and all that the generator does are training time; what `train` does before it
    returns a generator, such as loading a library, is not.
    """
    clock = TrainingClock()
    with clock:
        on_these, unfold = on_inputs(settings.get("inputs", AS_THEY_ARE), problem)
    training = train(on_these, settings)
    for number in range(1, problem.epochs + 1):
        try:
            with clock, np.errstate(over="ignore", invalid="ignore"):  # the loss will show it
                trained = next(training)
        except DivergedError as error:
            raise DivergedError(f"epoch {number}: {error}") from error
        if isinstance(trained, TrainedModel):
            weights, predict, arrays = trained
        else:
            weights, predict, arrays = unfold(trained), None, None
        scores = partial(_scores, problem, weights, predict, number)
        yield Epoch(number, copy(clock), weights, scores, predict, arrays)


def _scores(
    problem: Problem, weights: Weights, predict: Predict | None, epoch: int
) -> tuple[Scores, Scores]:
    data = problem.data
    on = partial(scores_of, problem.loss, weights)
    if predict is not None:
        on = partial(predicted_scores, problem.loss, predict)
    rows = problem.model.scored_rows if problem.model else len(data.x_train)
    with np.errstate(over="ignore", invalid="ignore"):
        train = on(data.x_train[:rows], data.y_train[:rows])
        held_out = on(data.x_test, data.y_test)
    if not np.isfinite(train.loss):
        raise DivergedError(
            f"epoch {epoch}: the train loss is {train.loss}: try smaller steps or larger penalties"
        )
    return train, held_out


def on_inputs(inputs: str, problem: Problem) -> tuple[Problem, Unfold]:
    """Return the problem on such inputs, and how its weights translate back to the features.

    UNIT_RANGE: with X' = (X − low)/span in [0, 1], X' W + b = X W/span + (b − low Σ W/span), the
    sum over the inputs. EIGENVECTORS: the INPUT_RANK leading ones of X̃, X' = X̃ Q, so that
    X' A + b = X̃ Q A + b; the column of ones of X̃ is among what they span.
    """
    x, basis = problem.data.x_train, None
    if inputs == AS_THEY_ARE:
        return problem, list
    if inputs == UNIT_RANGE:
        low, span = float(x.min()), float(np.ptp(x))
        x = (x - low) / span
    elif inputs == EIGENVECTORS:
        basis, projected = leading_eigenbasis(x, INPUT_RANK)
        x = np.ascontiguousarray(projected)
    else:
        raise UserError(
            f"inputs {inputs!r}: give {AS_THEY_ARE!r}, {UNIT_RANGE!r} or {EIGENVECTORS!r}"
        )

    def unfold(weights: Sequence[NDArray]) -> list[NDArray]:
        if basis is not None:
            first = basis.vectors @ weights[0][:-1]
            first[-1] += weights[0][-1]
        else:
            first = weights[0].copy()
            first[:-1] /= span
            first[-1] -= low * first[:-1].sum(axis=0)
        return [first, *weights[1:]]

    return replace(problem, data=replace(problem.data, x_train=x), basis=basis), unfold
