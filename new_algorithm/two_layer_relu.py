"""Two-layer back projection on a problem with a known answer.

A random ReLU network, the teacher, makes noiseless targets. A wider student is trained on them
by full-batch back projection: squared loss, both layers' problems solved by conjugate gradients.
Two questions are answered in numbers:

1. Does the student find the teacher? Its error on fresh data, and for each hidden unit of the
   teacher the student's unit that points closest to it.
2. Does conjugate gradients do what theory says? Every solve of some sweeps is compared with the
   exact solution: its error in the A-norm, iteration by iteration, beside the Chebyshev bound.

    python new_algorithm/two_layer_relu.py
    python new_algorithm/two_layer_relu.py --lambda-h-layers inf
    python new_algorithm/two_layer_relu.py --hidden-dim 5      # no wider than the teacher: harder

Writes ploting_data/TAG/ (cg_solves.csv and cg_convergence.csv too), figures/TAG/ and _logs/.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tyro
from numpy.typing import NDArray

from datasets import Dataset
from datasets.synthetic import teacher_data
from new_algorithm.back_projection.diagnostics import ObservedSolve, observe
from new_algorithm.back_projection.losses import SQUARED
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.network import (
    FlatParameters,
    append_ones,
    mask,
    momentum_step,
    weight_norms,
)
from new_algorithm.back_projection.rows import in_chunks
from new_algorithm.back_projection.solvers import CGSolver, Penalties
from new_algorithm.back_projection.sweep import NumericalError, Sweep
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import (
    Fraction,
    PenaltyFlags,
    PositiveFloat,
    PositiveInt,
    TrainingFlags,
    parse,
    per_layer,
)
from new_algorithm.cli.progress import progress
from new_algorithm.cli.signals import whole_steps
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.method import Problem
from new_algorithm.plots.run_figures import CONVERGENCE_FILE, CONVERGENCE_SIZE, draw_convergence
from new_algorithm.profiling.session import profiled
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.files import Row, save_csv
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(PenaltyFlags, TrainingFlags):
    hidden_dim: PositiveInt = 40
    """Hidden units of the student."""
    num_layers: Literal[2] = 2
    """Weight layers, the output layer included; this script is about two."""
    teacher_widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (10, 5, 3)
    """Inputs, hidden units and outputs of the teacher."""
    rows: PositiveInt = 1000
    """Samples to train on, and as many fresh ones to test on."""
    epochs: PositiveInt = 300
    """Sweeps over all samples."""
    lambda_w_layers: tuple[float, ...] = (0.01,)
    lambda_h_layers: tuple[float, ...] = (1.0,)
    cg_tolerance: PositiveFloat = 1e-8
    """Relative residual at which conjugate gradients stop."""
    step_size: PositiveFloat = 1.0
    """η of W ← W + η V, V ← μ V + δW."""
    momentum: Fraction = 0.9
    """The μ above."""
    observe: Annotated[tuple[PositiveInt, ...], tyro.conf.arg(metavar="SWEEP ...")] = (1, 10, 100)
    """Sweeps of which every solve is compared with the exact solution."""

    @property
    def settings(self) -> dict[str, str]:
        """What no flag changes."""
        return {"batch_size": "full"}


def main() -> None:
    config = parse(Config, __doc__)
    lambda_w = per_layer(config.lambda_w_layers, config.num_layers, "--lambda-w-layers")
    lambda_h = per_layer(config.lambda_h_layers, config.num_layers, "--lambda-h-layers")
    if not any(epoch <= config.epochs for epoch in config.observe):
        raise UserError(f"--observe names no sweep of the {config.epochs}: give one, such as 1")
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    solvers = [
        CGSolver(Penalties(lambda_w[0]), rtol=config.cg_tolerance),  # the data cannot change
        CGSolver(Penalties(lambda_w[1], lambda_h[1]), rtol=config.cg_tolerance),
    ]
    data, teacher = teacher_data(config.seed, config.teacher_widths, config.rows)
    tables = {CONVERGENCE_FILE: (draw_convergence, CONVERGENCE_SIZE)}
    provenance = data.provenance()
    with Run.open(script=Path(__file__), config=config, data=provenance, tables=tables) as run:
        with profiled(config.profile, "NumPy", run):
            student, solves = train(config, data, solvers, run)
        run.table(
            "teacher_units",
            closest_units(teacher[0], student[0]),
            "Hidden units of the teacher, and the direction of the student's closest:",
        )
        run.table(
            "cg_solves",
            [row for row, _ in solves],
            "Solves beside theory, errors relative to the exact solution. In exact arithmetic "
            "iterations never outnumber distinct eigenvalues; rounding can add some:",
        )
        iterations = [row for _, rows in solves for row in rows]
        save_csv(run.folder / CONVERGENCE_FILE, iterations)


@np.errstate(over="ignore", invalid="ignore")  # found and named by the sweep
def train(
    config: Config, data: Dataset, solvers: Sequence[CGSolver], run: Run
) -> tuple[list[NDArray], list[tuple[Row, list[Row]]]]:
    """Train; return W̃ and what `beside_theory` makes of the solves that are observed.

    DivergedError leaves the weights of the last good sweep saved.
    """
    x_train, x_test = map(append_ones, (data.x_train, data.x_test))  # X̃
    y_train, y_test = data.y_train, data.y_test
    start = Problem(data, (config.hidden_dim,), config.epochs, config.seed).start(np.float64)[1]
    parameters = FlatParameters.of(start)
    velocity, weights = parameters.zeros_like(), parameters.matrices
    sweep = Sweep(parameters, solvers, SQUARED, mask, chunk_rows=config.rows, pass_residual=True)
    run.save_weights(weights)
    run.save_snapshot(0, weights)
    solves = []
    clock = TrainingClock()
    sweeps = progress(range(1, config.epochs + 1), "sweeps", config.epochs)
    for epoch in whole_steps(sweeps):
        try:
            with clock:
                sweep(weights, [(x_train, y_train)], with_loss=False)
            if epoch in config.observe:
                space, residual = sweep.workspace, SQUARED.residual(sweep.workspace.output, y_train)
                deltas = [*(len(residual) * delta for delta in space.deltas), residual]
                problems = zip(solvers, space.activations, weights, deltas, strict=True)
                for layer, one in enumerate(problems, start=1):
                    solves.append(beside_theory(observe(*one), sweep=epoch, layer=layer))
            with clock:
                momentum_step(
                    parameters,
                    velocity,
                    sweep.changes,
                    momentum=config.momentum,
                    step_size=1.0,
                    lr_scale=config.step_size,
                )
            train_scores = evaluate(SQUARED, weights, in_chunks(x_train, y_train))
            if not np.isfinite(train_scores.loss):
                raise NumericalError(config.num_layers, f"the loss is {train_scores.loss}")
        except NumericalError as error:
            raise DivergedError(
                f"sweep {epoch}, {error}; weights.npz holds those before this sweep: "
                "lower --step-size or change the penalties"
            ) from error
        run.save_weights(weights)
        run.save_snapshot(epoch, weights)
        for number, solve in enumerate(sweep.solves, start=1):
            if solve is not None and solve.status != "converged":
                run.anomaly(f"sweep {epoch}, layer {number}: CG ended with {solve.status}")
        run.record_epoch(
            epoch,
            train=train_scores,
            held_out=evaluate(SQUARED, weights, in_chunks(x_test, y_test)),
            layer_norms=weight_norms(weights),
            cg_iterations=[solve.iterations for solve in sweep.solves if solve is not None],
            clock=clock,
        )
    return weights, solves


def closest_units(teacher: NDArray, student: NDArray) -> list[dict[str, float]]:
    """Return each teacher unit's largest cosine to a student unit: (d + 1, h) and (d + 1, h').

    Columns are compared, bias included. Their length is free: max(c z, 0) = c max(z, 0) for
    c > 0, which the next layer can undo.
    """
    directions = [layer / np.linalg.norm(layer, axis=0) for layer in (teacher, student)]
    cosines = (directions[0].T @ directions[1]).max(axis=1)
    return [
        {"teacher_unit": unit, "largest_cosine": float(cosine)}
        for unit, cosine in enumerate(cosines, start=1)
    ]


def beside_theory(solve: ObservedSolve, **where: int) -> tuple[Row, list[Row]]:
    """Return the solve's line of the table, and a row for each of its iterations."""
    row = where | {
        "unknowns": solve.eigenvalues.size,
        "distinct_eigenvalues": solve.distinct_eigenvalues,
        "condition": solve.condition,
        "iterations": len(solve.errors) - 1,
        "error_a_norm": float(solve.errors[-1]),
        "chebyshev_bound": float(solve.bounds[-1]),
        "error_frobenius": solve.solution_error,
    }
    return row, [
        where | {"iteration": k, "error_a_norm": float(error), "chebyshev_bound": float(bound)}
        for k, (error, bound) in enumerate(zip(solve.errors, solve.bounds, strict=True))
    ]


if __name__ == "__main__":
    run_main(main)
