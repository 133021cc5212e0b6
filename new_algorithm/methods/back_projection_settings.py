"""Everything that decides how back projection trains: flags, presets, and what is built of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.gram import MANY_IN_A_BATCH, intervals
from new_algorithm.back_projection.losses import SQUARED, Loss, smoothed
from new_algorithm.back_projection.network import Target
from new_algorithm.back_projection.outer_steps import Outer
from new_algorithm.back_projection.right_factors import RightFactors
from new_algorithm.back_projection.schedule import Schedule
from new_algorithm.back_projection.solvers import LayerSolver, Penalties
from new_algorithm.back_projection.solvers.of_layers import Solver, layer_solvers
from new_algorithm.back_projection.step_control import STEP_BOUNDS, StepControl, control_of_steps
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    BatchSize,
    Fraction,
    NonNegativeFloat,
    PenaltyFlags,
    PositiveFloat,
    PositiveInt,
    default_as,
    per_layer,
)

RATES: dict[Outer, float] = {"adam": 3e-3, "orthogonal": 0.05}  # η of steps that are not controlled
FOLLOWS = default_as("from rows and network")  # back_projection_defaults.py


@dataclass(frozen=True, kw_only=True)
class Settings(PenaltyFlags):
    """The settings of back projection, as flags of a script."""

    batch_size: Annotated[  # type: ignore[assignment]
        BatchSize | None, default_as("128, 512 for many rows, fewer for few rows")
    ] = None
    """Samples in a mini-batch, or `full`."""
    dtype: Literal["float32", "float64"] = "float32"

    lambda_w_layers: Annotated[tuple[float, ...], FOLLOWS] = ()
    lambda_h_layers: Annotated[tuple[float, ...], FOLLOWS] = ()
    """How much a layer holds back for those above, per mean eigenvalue of the curvature above it;
    passed down, the penalty on input changes, per mean eigenvalue of WᵀW. May be inf."""
    absolute_penalties: bool = False
    """Take the penalties as they are, not relative to the layers' mean eigenvalues."""
    hidden_penalty: Literal["own-solve", "passed-down", "none"] = "own-solve"
    """Where a finite λ_h acts: in each layer's own problem, with the curvature above it, or on what
    it passes down; none makes every λ_h infinite."""
    weight_decay: Annotated[NonNegativeFloat | None, FOLLOWS] = None
    """α of α/2 ‖W‖² beside the loss, a part of every layer's problem; biases do not decay."""
    decoupled_decay: Annotated[Fraction | None, FOLLOWS] = None
    """α of W ← (1 − α) W beside each full step, less of it while little has been learned; of
    controlled steps √(1,000/steps) of it in runs that have more."""
    label_smoothing: Fraction = 0.0
    """ε of the targets (1 − ε) y + ε/m that are trained towards; what is recorded is without it."""
    target: Annotated[
        Target | None,
        default_as("mask; revive where a hidden layer is a bottleneck", name="relu-target"),
    ] = None
    """The wanted change of Z for one of H: linearised, or projected onto h ≥ 0; or the latter for
    units alone that no row of the batch activates, so that they may revive; not in chunks, over
    ranks, or by default in batches of less than 32 rows."""
    order: Literal["simultaneous", "sequential"] = "simultaneous"
    """Change the weights after the sweep, or each layer before those below it are solved."""
    pass_down: Literal["whole", "left"] = "whole"
    """Ask the layers below for all of Δ, or for what δW would leave of it if made in full."""

    input_rank: PositiveInt | None = None
    """Eigenvectors of the input's Gram matrix to work in; by default chosen from its spectrum."""
    gram_average: Annotated[Fraction | None, default_as("0.9, in full batch 0.2")] = None
    """Decay of the moving averages of hidden Gram matrices, and of what lies above, as own λ_h sees
    it; 0 takes each batch's own, of what lies above where it is renewed."""
    solver: Solver = "exact"
    """Hidden layers in closed form, by conjugate gradients, or not at all: M/(λ_w ḡ)."""
    cg_iterations: PositiveInt = 3
    """Cap on the iterations of one solve."""
    cg_tolerance: PositiveFloat = 1e-3
    """Relative residual at which a solve ends before the cap."""
    warm_start: bool = False
    """Begin conjugate gradients with the layer's last solution."""
    precondition: bool = False
    """Precondition conjugate gradients with an older inverse of the damped Gram matrix."""

    outer: Annotated[Outer | None, FOLLOWS] = None
    """What makes steps of the changes: momentum, Nesterov's, Adam's moments, or polar factors."""
    step_size: PositiveFloat | None = None
    """A fixed step η. Unless given, steps of momentum and nesterov are controlled by predicted
    against actual decrease; adam takes 0.003, orthogonal 0.05, but where more suits the problem."""
    step_bounds: Annotated[tuple[PositiveFloat, PositiveFloat] | None, FOLLOWS] = None
    """Squared length of a controlled step, at first and at least, and at most."""
    judge_every: Annotated[PositiveInt | None, default_as("see below", metavar="N")] = None
    """Iterations between two judgements of a step by the loss after it. By default 20, or where a
    pass over the rows has fewer 1, in batches of 2,048 rows and more 5."""
    momentum: Annotated[Fraction | None, default_as("0.9; less in large batches")] = None
    schedule: Schedule = "warm-up-decay"
    """Of the steps over the run: up from 0 over the share --warm-up and down to 0, or none."""
    warm_up: Annotated[
        Fraction | None, default_as("0.3; to 0.5 in depth, 0.04 in large batches")
    ] = None

    chunk_rows: Annotated[PositiveInt | None, default_as("see below", metavar="N")] = None
    """Rows in memory at a time. By default 4096 where the data come from a large mapped file or
    over several ranks; otherwise all data are read into memory and each batch is one chunk."""

    def penalties(self, layers: int) -> list[Penalties]:
        """Return the penalties of each layer; UserError for lists of the wrong length.

        What is still to follow from the problem is taken as absent, of λ_w as 1.
        """
        lambda_w = self.lambda_w_layers or (1.0,)
        lambda_h = self.lambda_h(layers)
        if self.hidden_penalty == "own-solve":
            lambda_h = (math.inf,) * layers
        of_layers = zip(per_layer(lambda_w, layers, "--lambda-w-layers"), lambda_h, strict=True)
        relative = not self.absolute_penalties
        return [Penalties(w, h, relative, self.weight_decay or 0.0) for w, h in of_layers]

    def lambda_h(self, layers: int) -> tuple[float, ...]:
        """Return λ_h of each layer, wherever it acts; UserError for a list of the wrong length."""
        if self.hidden_penalty == "none" or not self.lambda_h_layers:
            return (math.inf,) * layers
        return tuple(per_layer(self.lambda_h_layers, layers, "--lambda-h-layers"))

    def solves_with_right_factors(self, layers: int) -> bool:
        """Whether a finite λ_h acts in the layers' own problems."""
        finite = any(math.isfinite(one) for one in self.lambda_h(layers))
        return finite and self.hidden_penalty == "own-solve"

    @property
    def solves_on_the_way(self) -> bool:
        """Whether layers are solved before the sweep is over."""
        return self.order == "sequential" or self.pass_down == "left"

    @property
    def eta(self) -> float | None:
        """The fixed step in force; None where steps are controlled."""
        return RATES.get(self.outer or "momentum") if self.step_size is None else self.step_size

    def check_penalties(self, layers: int) -> None:
        """UserError for settings that contradict each other or the number of layers."""
        hidden = self.penalties(layers)[1:]
        if self.solver == "gradient" and not all(one.lambda_w for one in hidden):
            raise UserError(
                "--lambda-w-layers 0 with --solver gradient, whose steps are divided by it: give "
                "numbers above 0"
            )
        least, most = self.step_bounds or STEP_BOUNDS
        if least > most:
            raise UserError(f"--step-bounds {least:g} {most:g}: give the smaller one first")
        if self.hidden_penalty == "passed-down" and all(map(math.isinf, self.lambda_h(layers))):
            raise UserError(
                "--hidden-penalty passed-down without a finite --lambda-h-layers passes down what "
                "none does: give one, such as 10"
            )
        on_the_way = self.solves_on_the_way
        if on_the_way and self.solves_with_right_factors(layers):
            raise UserError(
                "--order sequential and --pass-down left solve a layer before the curvature above "
                "it is known: give --hidden-penalty passed-down with a finite --lambda-h-layers"
            )
        if on_the_way and self.outer == "orthogonal":
            raise UserError(
                "--outer orthogonal needs all layers solved at once: give --order simultaneous "
                "--pass-down whole"
            )


# Networks, all else following from the problem, and the original formulation: flags of
# n_layer_relu_data.py.
PRESETS: dict[str, dict[str, Any]] = {
    "deep": {"num_layers": 9, "hidden_dim": 64, "epochs": 5},
    "two-layer": {"num_layers": 2, "hidden_dim": 512, "epochs": 3},
    "higgs": {"dataset": "higgs", "num_layers": 3, "hidden_dim": 256, "epochs": 6},
    "faithful": {
        "num_layers": 9,
        "hidden_dim": 64,
        "epochs": 50,
        "batch_size": "full",
        "lambda_w_layers": (0.1,),
        "lambda_h_layers": (1.0,),
        "hidden_penalty": "passed-down",
        "pass_down": "left",
        "gram_average": 0.0,
        "solver": "cg",
        "cg_iterations": 20,
        "weight_decay": 0.0,
        "decoupled_decay": 0.0,
        "outer": "momentum",
        "step_size": 1.0,
        "momentum": 0.0,
        "schedule": "constant",
    },
}


def right_factors_of(
    settings: Settings, weights: Sequence[NDArray], batch_size: int, in_chunks: bool
) -> RightFactors | None:
    """Return those of layers whose λ_h acts in their own problems, None if there are none."""
    if not settings.solves_with_right_factors(len(weights)):
        return None
    assert settings.gram_average is not None
    return RightFactors(
        settings.lambda_h(len(weights)),
        settings.gram_average,
        *intervals(batch_size, [weight.shape for weight in weights], in_chunks),
        relative=not settings.absolute_penalties,
        split=settings.outer == "orthogonal",
    )


def control_of(settings: Settings, loss: Loss, start: float, batch_size: int) -> StepControl:
    """Return what decides on the sizes of steps. start: the loss before the first one.

    Of small batches' steps what is beyond the layers' own solutions would be noise.
    """
    assert settings.step_bounds is not None
    longest = 1.0 if loss is SQUARED or batch_size < MANY_IN_A_BATCH else math.inf
    return control_of_steps(start, settings.step_bounds, settings.eta, longest)


def loss_in_training(settings: Settings, loss: Loss) -> Loss:
    """Return the loss with its targets smoothed; UserError where there are no classes."""
    try:
        return smoothed(loss, settings.label_smoothing)
    except ValueError as error:
        raise UserError(f"--label-smoothing: {error}: give 0") from error


def solvers_of(
    settings: Settings, basis: Eigenbasis, weights: list[NDArray], batch_size: int, in_chunks: bool
) -> list[LayerSolver]:
    """Return the solver of each layer: the eigenbasis for the data, --solver for the others."""
    assert settings.gram_average is not None
    return layer_solvers(
        settings.penalties(len(weights)),
        [weight.shape for weight in weights],
        batch_size,
        basis,
        solver=settings.solver,
        gram_average=settings.gram_average,
        in_chunks=in_chunks,
        cg={
            "rtol": settings.cg_tolerance,
            "max_iterations": settings.cg_iterations,
            "warm_start": settings.warm_start,
            "precondition": settings.precondition,
        },
    )
