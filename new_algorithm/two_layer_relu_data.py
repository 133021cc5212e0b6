"""Two-layer back projection on a data set.

Trains a d-512-k ReLU network without back-propagation. Each iteration takes a batch, computes the
residual at the output, and solves one damped least-squares problem a layer: the output layer's by
conjugate gradients, which decides how much the weights and how much the hidden units shall
change; the input layer's exactly, in the leading eigenvectors of the data's Gram matrix.

    python new_algorithm/two_layer_relu_data.py                               # MNIST
    python new_algorithm/two_layer_relu_data.py --dataset synthetic --epochs 20
    python new_algorithm/two_layer_relu_data.py --dataset FILE.npz --lambda-w-layers 10 1

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Choose settings with --held-out validation.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from datasets import Dataset, load_from_flags
from datasets.batches import RowsInMemory, in_chunks
from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.layer_solvers import (
    CGSolver,
    EigenbasisSolver,
    FactoredSolver,
    Penalties,
)
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.losses import loss_for
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.moving_gram import MovingGram
from new_algorithm.back_projection.network import initial_weights, weight_norms
from new_algorithm.back_projection.passes import WholePass
from new_algorithm.back_projection.relu_targets import RELU_TARGETS
from new_algorithm.back_projection.schedule import warm_up_and_decay
from new_algorithm.back_projection.sweep import NumericalError, Sweep
from new_algorithm.back_projection.workspace import Workspace
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.flags import (
    CommonFlags,
    PenaltyFlags,
    PositiveFloat,
    PositiveInt,
    Share,
    parse,
    per_layer,
)
from new_algorithm.cli.progress import progress
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(PenaltyFlags, CommonFlags):
    num_layers: Literal[2] = 2
    """Weight layers, the output layer included; this script is about two."""
    epochs: PositiveInt = 3
    """Passes over the training set."""
    lambda_w_layers: tuple[float, ...] = (10.0, 30.0)
    lambda_h_layers: tuple[float, ...] = (10.0,)
    input_rank: PositiveInt = 60
    """Leading eigenvectors of the input's Gram matrix in which layer 1 is solved."""
    solver: Literal["cg", "exact"] = "cg"
    """How the output layer's problem is solved."""
    cg_iterations: PositiveInt = 3
    """Cap on the iterations of one solve; a few are enough for a step on one batch."""
    cg_tolerance: PositiveFloat = 1e-3
    """Relative residual at which a solve ends before the cap."""
    target: Literal["mask", "project"] = "mask"
    """The wanted change of Z for one of H: linearised, or projected onto h ≥ 0 (far worse)."""
    step_size: PositiveFloat = 3.0
    """Peak η of W ← W + η V, V ← μ V + δW."""
    momentum: Share = 0.9
    """The μ above."""
    warm_up: Share = 0.3
    """Share of the iterations in which η rises from 0, before it falls to 0 again."""


def main() -> None:
    config = parse(Config, __doc__)
    lambda_w = per_layer(config.lambda_w_layers, config.num_layers, "--lambda-w-layers")
    lambda_h = per_layer(config.lambda_h_layers, config.num_layers, "--lambda-h-layers")
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    data = load_from_flags(config)
    with Run(script=Path(__file__), config=config, data=data.provenance()) as run:
        train(config, data, lambda_w, lambda_h, run)


@np.errstate(over="ignore", invalid="ignore")  # found and named by the sweep
def train(
    config: Config,
    data: Dataset,
    lambda_w: tuple[float, ...],
    lambda_h: tuple[float, ...],
    run: Run,
) -> None:
    """Train and record; DivergedError leaves the weights of the last good epoch saved."""
    rng = np.random.default_rng([config.seed, 1])  # another stream than synthetic data
    features = data.x_train.shape[1]
    loss, outputs = loss_for(data.num_classes, data.y_train)
    iterations_an_epoch = len(data.x_train) // config.batch_size
    iterations = config.epochs * iterations_an_epoch

    clock = TrainingClock()
    with clock:  # finding the eigenvectors and projecting the data are part of the cost
        basis, inputs = leading_eigenbasis(data.x_train, config.input_rank)  # X̃ Q (rows, rank)
        layers = initial_weights(rng, (features, config.hidden_dim, outputs))
        layers[0] = basis.vectors.T @ layers[0]  # A of W̃_1 = Q A
        weights = LayerStack.of(layers)
        velocity = weights.zeros_like()
        rows = RowsInMemory(inputs, data.y_train)
    penalties = [Penalties(w, h) for w, h in zip(lambda_w, lambda_h, strict=True)]
    solvers = [
        EigenbasisSolver(basis, penalties[0]),
        CGSolver(penalties[1], rtol=config.cg_tolerance, max_iterations=config.cg_iterations)
        if config.solver == "cg"
        else FactoredSolver(penalties[1], MovingGram(decay=0.0), gram_every=1, factor_every=1),
    ]
    sweep = Sweep(weights, solvers, RELU_TARGETS[config.target], pass_left=True)
    passes = WholePass(sweep, Workspace(config.batch_size, weights.layers), loss)
    held_out_inputs = basis.project(data.x_test)
    run.result(input_rank=len(basis.values), input_explained_share=basis.explained)
    run.save_weights(basis.on_features(weights.layers))

    iteration = 0
    for epoch in range(1, config.epochs + 1):
        iterations_of_cg, stalls = [], []
        try:
            with clock:
                batches = rows.batches(rng, config.batch_size)
                for batch in progress(batches, f"epoch {epoch}", iterations_an_epoch):
                    passes.sweep(weights.layers, batch, with_loss=False)

                    warm = warm_up_and_decay(iteration, iterations, config.warm_up)
                    velocity.scale(config.momentum)
                    velocity.add(1.0, sweep.changes)
                    weights.add(warm * config.step_size, velocity)

                    iterations_of_cg.append(sweep.iterations())
                    stalls += [(layer, iteration) for layer in sweep.stalled()]
                    iteration += 1
            train_scores = evaluate(loss, weights.layers, rows.chunks())
            held_out_scores = evaluate(
                loss, weights.layers, in_chunks(held_out_inputs, data.y_test)
            )
            if not np.isfinite(train_scores.loss):
                raise NumericalError(config.num_layers, f"the loss is {train_scores.loss}")
        except NumericalError as error:
            raise DivergedError(
                f"epoch {epoch}, iteration {iteration}, {error}; weights.npz holds those before "
                "this epoch: lower --step-size or change the penalties"
            ) from error
        run.save_weights(basis.on_features(weights.layers))
        if stalls:
            run.anomaly(
                f"epoch {epoch}: conjugate gradients stalled in {len(stalls)} of "
                f"{len(iterations_of_cg)} iterations, in layer {stalls[0][0]} at iteration "
                f"{stalls[0][1]} for the first time"
            )
        run.record_epoch(
            epoch,
            train=train_scores,
            held_out=held_out_scores,
            layer_norms=weight_norms(weights.layers),
            cg_iterations=np.mean(iterations_of_cg, axis=0),
            clock=clock,
            stalled_solves=len(stalls),
        )


if __name__ == "__main__":
    run_main(main)
