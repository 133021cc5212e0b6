"""Two-layer back projection on a data set, in its plainest form: to be read, and changed, first.

Each iteration takes a batch, computes the residual at the output, and solves one damped
least-squares problem a layer by a few conjugate gradients: how much shall the weights change, and
how much the layer's input? The change wanted of the output layer's input becomes, through the ReLU,
the Δ of the input layer; the data themselves cannot change. n_layer_relu_data.py goes to any depth,
ten times as fast, and differs in what made depth work: λ_h = ∞, all of Δ passed down, averaged Gram
matrices, steps whose size is controlled.

    python new_algorithm/two_layer_relu_data.py --dataset mnist
    python new_algorithm/two_layer_relu_data.py --dataset FILE.csv --target COLUMN

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Choose settings with --held-out validation. A run
that was cut short has its epochs and weights, and does not go on: only n_layer_relu_data.py has
--resume.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tyro
from numpy.typing import NDArray

from datasets import Dataset, load_dataset
from new_algorithm.back_projection import layer_problem, losses, metrics, network
from new_algorithm.back_projection.layer_problem import absolute_penalties, passed_down
from new_algorithm.back_projection.rows import in_chunks, minibatches
from new_algorithm.back_projection.schedule import warm_up_and_decay
from new_algorithm.cli import flags
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.progress import progress
from new_algorithm.cli.signals import whole_steps
from new_algorithm.cli.threads import fix_threads
from new_algorithm.profiling.session import profiled
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run
from new_algorithm.record.trial import check_run

LARGEST_LOSS = 1e6  # in nats, or in squared standard deviations
REMEDY = "lower --step-size or change the penalties"


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
    target: Annotated[Literal["mask", "project"], tyro.conf.arg(name="relu-target")] = "mask"
    """The wanted change of Z for one of H: linearised, or projected onto h ≥ 0 (far worse)."""
    step_size: flags.PositiveFloat = 3.0
    """The η of V ← μ V + δW̃, then W̃ ← W̃ + c η V; μ the momentum, c the schedule."""
    momentum: flags.Fraction = 0.9
    warm_up: flags.Fraction = 0.3
    """Part of the iterations in which η rises from 0, before it falls to 0 again."""


def main() -> None:
    config = flags.parse(Config, __doc__)
    relative_w = flags.per_layer(config.lambda_w_layers, 2, "--lambda-w-layers")
    _, relative_h = flags.per_layer(config.lambda_h_layers, 2, "--lambda-h-layers")
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    data = load_dataset(**config.data_arguments())
    if config.check:
        check_run(config, data.provenance(), partial(train, config, data, relative_w, relative_h))
        return
    with (
        Run.open(script=Path(__file__), config=config, data=data.provenance()) as run,
        profiled(config.profile, "NumPy", run),
    ):
        train(config, data, relative_w, relative_h, run)


def train(
    config: Config, data: Dataset, relative_w: tuple[float, ...], relative_h: float, run: Run
) -> None:
    """Train and record; DivergedError leaves the weights of the last epoch saved."""
    rng = np.random.default_rng([config.seed, 1])  # another stream than synthetic data
    loss, outputs = losses.loss_for(data.num_classes, data.y_train, data.probabilities)
    x, x_held_out = map(network.append_ones, (data.x_train, data.x_test))  # X̃
    steps = len(x) // config.batch_size
    weights = network.initial_weights(rng, (x.shape[1] - 1, config.hidden_dim, outputs))
    velocity = [np.zeros_like(weight) for weight in weights]
    run.save_weights(weights)
    run.save_snapshot(0, weights)
    clock = TrainingClock()
    for epoch in range(1, config.epochs + 1):
        cg_iterations = []
        with clock, np.errstate(over="ignore", invalid="ignore"):  # the solves show it
            batches = progress(minibatches(rng, len(x), config.batch_size), f"epoch {epoch}", steps)
            for iteration, batch in enumerate(whole_steps(batches), (epoch - 1) * steps):
                where = f"epoch {epoch}, iteration {iteration}"
                inputs, targets = x[batch], data.y_train[batch]
                (_, hidden), output = network.forward(weights, inputs)  # H̃_1, F
                delta_2 = loss.residual(output, targets)
                # output layer: (2) for its weights; (1) for the change that is wanted of H_1
                penalties = absolute_penalties(hidden, weights[1], relative_w[1], relative_h)
                problem = hidden, weights[1], delta_2, *penalties
                change_2, cg_2 = solve(config, f"{where}: layer 2", *problem)
                passed = passed_down(delta_2 - hidden @ change_2, weights[1], penalties[1])
                # input layer: through the ReLU, then (2) with λ_h = ∞, ridge regression on the data
                delta_1 = to_relu_input(passed, hidden[:, :-1], config.target)
                penalties = absolute_penalties(inputs, weights[0], relative_w[0], np.inf)
                problem = inputs, weights[0], delta_1, *penalties
                change_1, cg_1 = solve(config, f"{where}: layer 1", *problem)

                c = warm_up_and_decay(iteration, config.epochs * steps, config.warm_up)
                for weight, v, change in zip(weights, velocity, (change_1, change_2), strict=True):
                    v *= config.momentum
                    v += change
                    weight += c * config.step_size * v
                cg_iterations.append((cg_1, cg_2))
        scores = metrics.evaluate(loss, weights, in_chunks(x, data.y_train))
        if not scores.loss < LARGEST_LOSS:
            raise DivergedError(f"epoch {epoch}: the train loss is {scores.loss:.4g}: {REMEDY}")
        run.save_weights(weights)
        run.save_snapshot(epoch, weights)
        run.record_epoch(
            epoch,
            train=scores,
            held_out=metrics.evaluate(loss, weights, in_chunks(x_held_out, data.y_test)),
            layer_norms=network.weight_norms(weights),
            cg_iterations=np.mean(cg_iterations, axis=0),
            clock=clock,
        )


def solve(config: Config, where: str, *problem: Any) -> tuple[NDArray, int]:
    """Return δW̃ by (2) for H̃, W̃, Δ, λ_w and λ_h, and the iterations; DivergedError at `where`."""
    if config.solver == "exact":
        try:
            return layer_problem.weight_change_exact(*problem), 0
        except np.linalg.LinAlgError as error:
            raise DivergedError(f"{where}: {error}: {REMEDY}") from error
    tolerance, cap = config.cg_tolerance, config.cg_iterations
    result = layer_problem.weight_change_by_cg(*problem, rtol=tolerance, max_iterations=cap)
    if not result.is_usable:
        raise DivergedError(f"{where}: CG ended with {result.status}: {REMEDY}")
    return result.solution, result.iterations


def to_relu_input(delta: NDArray, hidden: NDArray, target: str) -> NDArray:
    """Return Δ_1, the change of Z that makes the wanted one of H = max(Z, 0), as far as it can."""
    if target == "mask":
        return np.where(hidden > 0, delta, 0)
    return np.maximum(hidden + delta, 0) - hidden


if __name__ == "__main__":
    run_main(main)
