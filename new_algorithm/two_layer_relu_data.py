"""Two-layer back projection on a data set, in its plainest form: to be read, and changed, first.

Each iteration takes a batch, computes the residual at the output, and solves one damped
least-squares problem a layer by a few conjugate gradients: how much shall the weights change, and
how much the layer's input? What is asked of the output layer's input is what the input layer is
asked for; the data cannot change. n_layer_relu_data.py does it at any depth and ten times as fast.

    python new_algorithm/two_layer_relu_data.py --dataset mnist --lambda-w-layers 10 30

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Choose settings with --held-out validation.
"""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from datasets.batches import in_chunks, minibatches
from new_algorithm.back_projection import layer_problem, losses, metrics, network, schedule
from new_algorithm.cli import flags
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.progress import progress
from new_algorithm.cli.threads import fix_threads
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

LARGEST_LOSS = 1e6  # in nats, or in squared standard deviations


@dataclass(frozen=True, kw_only=True)
class Config(flags.PenaltyFlags, flags.CommonFlags):
    num_layers: Literal[2] = 2
    epochs: flags.PositiveInt = 3
    lambda_w_layers: tuple[float, ...] = (10.0, 30.0)
    lambda_h_layers: tuple[float, ...] = (10.0,)
    solver: Literal["cg", "exact"] = "cg"
    """Conjugate gradients, or eigenvectors of G and K, which take ten times as long."""
    cg_iterations: flags.PositiveInt = 2
    """Cap on the iterations of one solve; a few are enough for a step on one batch."""
    cg_tolerance: flags.PositiveFloat = 1e-3
    """Relative residual at which a solve ends before the cap."""
    target: Literal["mask", "project"] = "mask"
    """The wanted change of Z for one of H: linearised, or projected onto h ≥ 0 (far worse)."""
    step_size: flags.PositiveFloat = 3.0
    """Peak η of W ← W + η V, V ← μ V + δW, μ the momentum."""
    momentum: flags.Fraction = 0.9
    warm_up: flags.Fraction = 0.3
    """Part of the iterations in which η rises from 0, before it falls to 0 again."""


def main() -> None:
    config = flags.parse(Config, __doc__)
    lambda_w = flags.per_layer(config.lambda_w_layers, 2, "--lambda-w-layers")
    _, lambda_h = flags.per_layer(config.lambda_h_layers, 2, "--lambda-h-layers")
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    data = load_dataset(**config.data_arguments())
    with Run.open(script=Path(__file__), config=config, data=data.provenance()) as run:
        train(config, data, lambda_w, lambda_h, run)


def train(
    config: Config, data: Dataset, lambda_w: tuple[float, ...], lambda_h: float, run: Run
) -> None:
    """Train and record; DivergedError leaves the weights of the last epoch saved."""
    rng = np.random.default_rng([config.seed, 1])  # another stream than synthetic data
    loss, outputs = losses.loss_for(data.num_classes, data.y_train)
    x, x_held_out = map(network.append_ones, (data.x_train, data.x_test))  # X̃
    steps = len(x) // config.batch_size
    weights = network.initial_weights(rng, (x.shape[1] - 1, config.hidden_dim, outputs))
    velocity = [np.zeros_like(weight) for weight in weights]
    run.save_weights(weights)
    clock, iteration = TrainingClock(), 0
    for epoch in range(1, config.epochs + 1):
        cg_iterations = []
        with clock, np.errstate(over="ignore", invalid="ignore"):  # the loss shows it
            batches = minibatches(rng, len(x), config.batch_size)
            for batch in progress(batches, f"epoch {epoch}", steps):
                inputs, targets = x[batch], data.y_train[batch]
                (_, hidden), output = network.forward(weights, inputs)
                # output layer: (2) for its weights; (1) for what is asked of H, through the ReLU
                delta = loss.residual(output, targets)
                h = layer_problem.absolute_lambda_h(weights[1], lambda_h)
                second, cg_second = solve(config, hidden, weights[1], delta, lambda_w[1], h)
                delta_h = layer_problem.passed_down(delta - hidden @ second, weights[1], h)
                delta = to_relu_input(delta_h, hidden[:, :-1], config.target)
                # input layer: (2) with λ_h = ∞, ridge regression of Δ on the data
                first, cg_first = solve(config, inputs, weights[0], delta, lambda_w[0], np.inf)

                warm = schedule.warm_up_and_decay(iteration, config.epochs * steps, config.warm_up)
                for weight, v, change in zip(weights, velocity, (first, second), strict=True):
                    v *= config.momentum
                    v += change
                    weight += warm * config.step_size * v
                cg_iterations.append((cg_first, cg_second))
                iteration += 1
                if not np.isfinite([first.sum(), second.sum()]).all():
                    layer = 1 if np.isfinite(second).all() else 2
                    raise diverged(f"epoch {epoch}, iteration {iteration}: layer {layer}'s change")
        scores = metrics.evaluate(loss, weights, in_chunks(x, data.y_train))
        if not scores.loss < LARGEST_LOSS:
            raise diverged(f"epoch {epoch}: layer 2's output")
        run.save_weights(weights)
        run.record_epoch(
            epoch,
            train=scores,
            held_out=metrics.evaluate(loss, weights, in_chunks(x_held_out, data.y_test)),
            layer_norms=network.weight_norms(weights),
            cg_iterations=np.mean(cg_iterations, axis=0),
            clock=clock,
        )


def diverged(what: str) -> DivergedError:
    return DivergedError(f"{what} is too large: lower --step-size or change the penalties")


def solve(
    config: Config, inputs: NDArray, weight: NDArray, delta: NDArray, w: float, lambda_h: float
) -> tuple[NDArray, int]:
    """Return δW̃ by (2) and the iterations it took; w: λ_w in mean eigenvalues of G."""
    lambda_w = layer_problem.absolute_lambda_w(layer_problem.mean_eigenvalue_of_gram(inputs), w)
    if config.solver == "exact":
        with suppress(np.linalg.LinAlgError):  # there are no eigenvectors of what is not finite
            return layer_problem.weight_change_exact(inputs, weight, delta, lambda_w, lambda_h), 0
        return weight * np.nan, 0
    tolerance, cap = config.cg_tolerance, config.cg_iterations
    result = layer_problem.weight_change_by_cg(
        inputs, weight, delta, lambda_w, lambda_h, rtol=tolerance, max_iterations=cap
    )
    sound = result.status in ("converged", "max_iterations")
    return result.solution if sound else weight * np.nan, result.iterations


def to_relu_input(delta: NDArray, hidden: NDArray, target: str) -> NDArray:
    """Return the change of Z that makes the change Δ of H = max(Z, 0), as far as a ReLU can."""
    if target == "mask":
        return np.where(hidden > 0, delta, 0)
    return np.maximum(hidden + delta, 0) - hidden


if __name__ == "__main__":
    run_main(main)
