"""N-layer back projection on a data set: deep plain ReLU networks without gradient descent.

Each iteration takes a batch, computes the residual at the output, and projects it back: at every
layer a damped least-squares problem says how the weights should change and what the layer below
is asked for. The input layer is solved in the leading eigenvectors of the data, hidden layers with
a moving average of their Gram matrices; the length of a step follows from the decrease of the loss
that it predicts, checked against the decrease that comes.

    python new_algorithm/n_layer_relu_data.py                     # HIGGS if it is there, or MNIST
    python new_algorithm/n_layer_relu_data.py --dataset mnist --num-layers 21 --epochs 4
    python new_algorithm/n_layer_relu_data.py --dataset FILE.npz --widths 256 128 64 --verbose
    python new_algorithm/n_layer_relu_data.py --preset two-layer
    python new_algorithm/n_layer_relu_data.py --preset faithful --epochs 50
    python new_algorithm/n_layer_relu_data.py --preset higgs
    python new_algorithm/n_layer_relu_data.py --preset higgs --dataset higgs-like:2600000
    torchrun --standalone --nproc-per-node 2 new_algorithm/n_layer_relu_data.py --batch-size full

Presets: `deep`, 8 hidden layers of 64, is the default; `two-layer` is 784-512-10 on MNIST; `higgs`
is 28-256-256-1, its penalties chosen on a sample of 10,984 rows; `faithful` is the method as first
conceived: full batch, conjugate gradients, finite λ_h, full steps, no momentum; only the data keep
their eigenbasis, and harm is still undone. A flag given beside a preset wins over it.

Large files, and ranks of torchrun, are gone through in chunks: a batch of any size, the full one
included, takes the memory of one chunk, and only sums are exchanged. A run that was cut short goes
on with --resume; its moving averages of Gram matrices then begin anew.

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Choose settings with --held-out validation.

Notes for those who change it next are at the end of the file.
"""

import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tyro
from numpy.typing import NDArray

from datasets import Dataset, find_higgs, load_from_flags
from datasets.batches import RowsInMemory, StreamedRows
from datasets.mapped_pages import is_mapped, row_blocks
from new_algorithm.back_projection.diagnostics import diagnose
from new_algorithm.back_projection.eigenbasis import (
    Eigenbasis,
    leading_eigenbasis,
    streamed_eigenbasis,
)
from new_algorithm.back_projection.layer_solvers import (
    CGSolver,
    EigenbasisSolver,
    FactoredSolver,
    GradientSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.losses import Loss, loss_for
from new_algorithm.back_projection.metrics import Chunk, evaluate
from new_algorithm.back_projection.momentum import MovingWeights
from new_algorithm.back_projection.moving_gram import MovingGram, intervals
from new_algorithm.back_projection.network import initial_weights, weight_norms
from new_algorithm.back_projection.passes import StreamedPass, WholePass
from new_algorithm.back_projection.relu_targets import RELU_TARGETS
from new_algorithm.back_projection.schedule import SCHEDULES
from new_algorithm.back_projection.step_control import FixedStep, LossWatch, TrustRegion
from new_algorithm.back_projection.sweep import NumericalError, Sweep
from new_algorithm.back_projection.workspace import Workspace
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import (
    BatchSize,
    NetworkFlags,
    PenaltyFlags,
    PositiveFloat,
    PositiveInt,
    Share,
    parse,
    per_layer,
)
from new_algorithm.cli.progress import progress
from new_algorithm.cli.ranks import Alone, Ranks, join_ranks, shard
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.epoch_tally import EpochTally
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run
from new_algorithm.record.silent_run import SilentRun
from new_algorithm.record.tables import format_table

JUDGED_EVERY = 20  # iterations; a judgement costs one more forward pass
INPUT_LAMBDA_W, HIDDEN_LAMBDA_W = 3.0, 0.1  # relative
DIAGNOSED_ROWS = 512  # the first of the training set
CHUNK_ROWS = 4_096  # in memory at a time where rows are streamed
STREAMED_FROM_BYTES = 1 << 26  # of a mapped file; a smaller one is read into memory
MOST_RETREATS = 30  # in a row; then the run ends with its best weights


@dataclass(frozen=True, kw_only=True)
class Config(PenaltyFlags, NetworkFlags):
    preset: Literal["deep", "two-layer", "higgs", "faithful"] = "deep"
    """Where the defaults below come from; see above."""
    dataset: str | None = None
    """mnist, higgs, higgs-like:ROWS, synthetic, or a FILE.npz; by default HIGGS if HIGGS.csv is
    there, or MNIST."""
    num_layers: PositiveInt = 9
    """Weight layers, the output layer included."""
    hidden_dim: PositiveInt = 64
    epochs: PositiveInt = 5
    batch_size: BatchSize = 128
    """Samples in a mini-batch, or `full`."""
    dtype: Literal["float32", "float64"] = "float32"

    lambda_w_layers: Annotated[
        tuple[float, ...],
        tyro.conf.arg(help_behavior_hint="(default: 3 in layer 1, 0.1 elsewhere)"),
    ] = ()
    lambda_h_layers: tuple[float, ...] = (float("inf"),)
    absolute_penalties: bool = False
    """Take the penalties as they are, not relative to the layers' mean eigenvalues."""
    target: Literal["mask", "project"] = "mask"
    """The wanted change of Z for one of H: linearised, or projected onto h ≥ 0."""
    order: Literal["simultaneous", "sequential"] = "simultaneous"
    """Change the weights after the sweep, or each layer before those below it are solved."""
    pass_down: Literal["whole", "left"] = "whole"
    """Ask the layers below for all of Δ, or for what δW would leave of it if made in full."""

    input_rank: PositiveInt | None = None
    """Eigenvectors of the input's Gram matrix to work in; by default chosen from its spectrum."""
    gram_average: Share = 0.9
    """Decay of the moving averages of hidden Gram matrices; 0 takes each batch's own."""
    solver: Literal["exact", "cg", "gradient"] = "exact"
    """Hidden layers in closed form, by conjugate gradients, or not at all: M/(λ_w ḡ)."""
    cg_iterations: PositiveInt = 3
    """Cap on the iterations of one solve."""
    cg_tolerance: PositiveFloat = 1e-3
    """Relative residual at which a solve ends before the cap."""
    warm_start: bool = False
    """Begin conjugate gradients with the layer's last solution."""
    precondition: bool = False
    """Precondition conjugate gradients with an older inverse of the damped Gram matrix."""

    step_size: PositiveFloat | None = None
    """A fixed step; unless given, steps are controlled by predicted against actual decrease."""
    step_bounds: tuple[PositiveFloat, PositiveFloat] = (1e-3, 2e-2)
    """Squared length of a controlled step, at first and at least, and at most."""
    momentum: Share = 0.9
    schedule: Literal["warm-up-decay", "constant"] = "warm-up-decay"
    """Of the steps over the run: up from 0 over its first 30% and down to 0, or none."""
    verbose: bool = False
    """Print the diagnostics of every layer after each epoch."""

    chunk_rows: Annotated[
        PositiveInt | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: see below)")
    ] = None
    """Rows in memory at a time. By default 4096 where the data come from a large mapped file or
    over several ranks; otherwise all data are read into memory and each batch is one chunk."""
    rank_timeout: PositiveFloat = 300.0
    """Under torchrun: seconds to wait for another rank before the run ends."""
    resume: bool = False
    """Go on with the run that --tag names, from its last whole epoch."""


PRESETS = {
    "deep": Config(),
    "two-layer": Config(
        preset="two-layer",
        num_layers=2,
        hidden_dim=512,
        epochs=3,
        lambda_w_layers=(10.0, 3.0),
        input_rank=60,
        step_bounds=(0.1, 0.1),
    ),
    "higgs": Config(
        preset="higgs",
        dataset="higgs",
        num_layers=3,
        hidden_dim=256,
        epochs=6,
        batch_size=64,
        lambda_w_layers=(0.1, 100.0, 100.0),
        step_bounds=(2e-2, 0.5),
    ),
    "faithful": Config(
        preset="faithful",
        batch_size="full",
        epochs=50,
        lambda_w_layers=(0.1,),
        lambda_h_layers=(1.0,),
        pass_down="left",
        gram_average=0.0,
        solver="cg",
        cg_iterations=20,
        step_size=1.0,
        momentum=0.0,
        schedule="constant",
    ),
}


def main() -> None:
    config = parse(Config, __doc__, presets=PRESETS)
    lambda_w, lambda_h = penalties_of_layers(config)
    check_step_bounds(config)
    check_tag(config.tag, config.overwrite, resume=config.resume)
    fix_threads(config.threads)
    config = with_depth(with_data_set(config))
    config = replace(config, lambda_w_layers=lambda_w, lambda_h_layers=lambda_h)  # as in force
    with join_ranks(config.rank_timeout) as ranks:
        data = load_from_flags(config)
        check_streamed(config, data, ranks)
        record = partial(Run, script=Path(__file__), config=config, data=data.provenance())
        with record(resume=config.resume) if ranks.rank == 0 else SilentRun() as run:
            train(config, data, run, ranks)


@np.errstate(over="ignore", invalid="ignore")  # found and named by the sweep
def train(
    config: Config, data: Dataset, run: Run | SilentRun, ranks: Ranks | None = None
) -> list[NDArray]:
    """Train and record; return the weights after the last epoch, W̃ on the features as they are.

    weights.npz holds those of the epoch with the lowest train loss.
    """
    ranks = ranks or Alone()
    rng = np.random.default_rng([config.seed, 1])  # another stream than synthetic data
    loss, outputs = loss_for(data.num_classes, data.y_train)
    samples, features = data.x_train.shape
    batch_size = samples if config.batch_size == "full" else config.batch_size
    iterations_an_epoch = samples // batch_size
    iterations = config.epochs * iterations_an_epoch
    judged_every = JUDGED_EVERY if iterations_an_epoch >= JUDGED_EVERY else 1
    schedule = SCHEDULES[config.schedule]

    clock = TrainingClock()
    with clock:  # finding the eigenvectors and projecting the data are part of the cost
        basis, rows = training_rows(config, data, ranks)
        layers = initial_weights(rng, (features, *config.hidden_widths, outputs), config.dtype)
        layers[0] = basis.vectors.T @ layers[0]  # A of W̃_1 = Q A
        weights = MovingWeights(layers, config.momentum)
        batch_rows = batch_size * len(rows) // samples  # of this rank
        solvers = build_solvers(config, basis, layers, batch_size, rows)
        passes_left = config.pass_down == "left"
        sweep = Sweep(weights.stack, solvers, RELU_TARGETS[config.target], pass_left=passes_left)
        passes = build_passes(sweep, rows, batch_rows, layers, loss, ranks)
        sample = rows.first(DIAGNOSED_ROWS)
        whole = isinstance(rows, RowsInMemory)  # a shard's first rows are not all ranks' alike
        control = build_control(config, evaluate(loss, layers, [sample]).loss if whole else np.inf)
    held_out = held_out_rows(config, data, basis, ranks)
    epochs_done, lowest_loss, length, retreats_in_a_row = 0, np.inf, control.length(np.inf), 0
    checkpoint = ranks.from_first(run.checkpoint)
    if checkpoint is None:
        run.result(input_rank=len(basis.values), input_explained_share=basis.explained)
        run.save_weights(basis.on_features(weights.layers))
    else:
        arrays, facts = checkpoint
        weights.restore(arrays)
        if not np.array_equal(arrays["basis"], basis.vectors):  # found anew with another rounding
            weights.turn_first_layer(basis.vectors.T @ arrays["basis"])
        control = restored(control, facts["control"])
        rng.bit_generator.state, clock = facts["rng"], TrainingClock(*facts["clock"])
        epochs_done, lowest_loss, length, retreats_in_a_row = facts["loop"]
    if ranks.rank > 0:  # which shuffles its own shard
        rng = np.random.default_rng([config.seed, 2, ranks.rank, epochs_done + 1])
    iteration, sequential = epochs_done * iterations_an_epoch, config.order == "sequential"
    for epoch in range(epochs_done + 1, config.epochs + 1):
        tally, sent_before = EpochTally(), ranks.sent_bytes
        with clock:
            batches = islice(rows.batches(rng, batch_rows), iterations_an_epoch)
            for batch in progress(batches, f"epoch {epoch}", iterations_an_epoch):
                share = schedule(iteration, iterations)
                judged = iteration % judged_every == 0
                try:
                    change = None
                    if sequential:  # with the length that the sweep before would have had
                        change = partial(weights.step_layer, sweep.changes, length, share)
                    before = passes.sweep(weights.layers, batch, control.damping, change, judged)
                    length = control.length(sweep.slope)
                    if not sequential:
                        weights.step(sweep.changes, length, share)

                    if judged:
                        predicted = share * weights.velocity.inner(sweep.moments)
                        after = passes.loss(weights.layers, batch)
                        tally.decrease(predicted, before - after)
                        if not control.judge(predicted, before, after, share):
                            raise NumericalError(
                                weights.moved_furthest(),
                                "moved furthest where the loss of the batch went from "
                                f"{before:.4g} to {after:.4g}",
                            )
                        weights.keep()
                        retreats_in_a_row = 0
                except NumericalError as error:
                    tally.trouble(iteration, error)
                    retreats_in_a_row += 1
                    go_back(weights, sweep, control)
                tally.solves(iteration, sweep.iterations(), sweep.stalled())
                iteration += 1

        sent_bytes = ranks.sent_bytes - sent_before
        scores = evaluate(loss, weights.layers, rows.chunks(), ranks.all_sum)
        if not np.isfinite(scores.loss):
            tally.trouble(iteration, NumericalError(len(solvers), f"the loss is {scores.loss}"))
            go_back(weights, sweep, control)
            scores = evaluate(loss, weights.layers, rows.chunks(), ranks.all_sum)
        if scores.loss < lowest_loss:
            lowest_loss = scores.loss
            run.save_weights(basis.on_features(weights.layers))
            run.result(saved_epoch=epoch, saved_train_loss=lowest_loss)
        diagnostics = diagnosed(weights.layers, sample, sweep, loss, control)
        norms, tallied = weight_norms(weights.layers), tally.numbers()
        for text in tally.anomalies(epoch):
            run.anomaly(text)
        run.record_epoch(
            epoch,
            train=scores,
            held_out=evaluate(loss, weights.layers, held_out.chunks(), ranks.all_sum),
            layer_norms=norms,
            clock=clock,
            **tallied,
            **control.numbers(),
            **diagnostics,
            sent_bytes=sent_bytes,
        )
        if not ranks.same_everywhere(weights.stack.flat):  # machines of different kinds
            run.anomaly(f"epoch {epoch}: the ranks' weights differ; all take those of rank 0")
            arrays, facts = ranks.from_first((weights.arrays(), asdict(control)))
            weights.restore(arrays)
            control = restored(control, facts)
        run.save_checkpoint(
            {**weights.arrays(), "basis": basis.vectors},
            {
                "loop": (epoch, lowest_loss, length, retreats_in_a_row),
                "control": asdict(control),
                "rng": rng.bit_generator.state,
                "clock": (clock.cpu_seconds, clock.wall_seconds),
            },
        )
        if config.verbose and ranks.rank == 0:
            columns = {"weight_norms": norms, **diagnostics}
            columns |= {"cg_iterations": tallied["cg_iterations"]}
            in_force = ", ".join(f"{name} {value:.3g}" for name, value in control.numbers().items())
            print(f"In force: {in_force}\n{format_table(by_layer(columns))}", flush=True)
        if retreats_in_a_row > MOST_RETREATS:
            raise DivergedError(
                f"epoch {epoch}: {retreats_in_a_row} steps in a row had to be taken back, the last "
                f"in iteration {tally.troubles[-1][0]}, {tally.troubles[-1][1]}; weights.npz holds "
                "those of the lowest train loss: raise --lambda-w-layers, or lower --step-size or "
                "--step-bounds"
            )
    return basis.on_features(weights.layers)


def go_back(weights: MovingWeights, sweep: Sweep, control: TrustRegion | FixedStep) -> None:
    """Return to the last good weights, at rest, and trust the steps less from now on."""
    weights.go_back()
    sweep.forget()
    control.retreat()


def diagnosed(
    layers: list[NDArray], sample: Chunk, sweep: Sweep, loss: Loss, control: TrustRegion | FixedStep
) -> dict[str, list[float]]:
    """Return the diagnostics of every layer on a few rows; none of a rank that has no rows."""
    inputs, targets = sample
    if not len(inputs):
        return {}
    workspace = Workspace(len(inputs), layers)
    workspace.inputs = inputs
    return diagnose(
        layers,
        workspace,
        sweep.detached(),
        residual=lambda output: loss.residual(output, targets),
        loss=lambda output: loss.value(output, targets),
        length=control.length,
    )


def is_streamed(config: Config, data: Dataset, ranks: Ranks) -> bool:
    """Return whether the rows pass through memory in chunks, rather than lie there as a whole."""
    large = data.x_train.nbytes > STREAMED_FROM_BYTES and is_mapped(data.x_train)
    return large or ranks.size > 1 or config.chunk_rows is not None


def check_streamed(config: Config, data: Dataset, ranks: Ranks) -> None:
    """UserError where the rows come in chunks, or over several ranks, and the flags forbid it."""
    whole = config.order == "sequential" or config.pass_down == "left"
    if whole and is_streamed(config, data, ranks):
        raise UserError(
            "--order sequential and --pass-down left need a whole batch in memory, and here the "
            "rows come in chunks: give --order simultaneous --pass-down whole, or one process, a "
            "--train-limit and no --chunk-rows"
        )
    if config.batch_size != "full" and config.batch_size < ranks.size:
        raise UserError(
            f"--batch-size {config.batch_size} is less than one row for each of {ranks.size} "
            f"ranks: give at least {ranks.size}"
        )


def training_rows(
    config: Config, data: Dataset, ranks: Ranks
) -> tuple[Eigenbasis, RowsInMemory | StreamedRows]:
    """Return the eigenbasis of all training rows, and this rank's rows in it."""
    if not is_streamed(config, data, ranks):
        x = data.x_train.astype(config.dtype, copy=False)
        y = data.y_train if data.num_classes else data.y_train.astype(config.dtype, copy=False)
        basis, inputs = leading_eigenbasis(x, config.input_rank)  # X̃ Q (rows, rank)
        return basis, RowsInMemory(inputs, y)
    mine = data.x_train[shard(len(data.x_train), ranks.rank, ranks.size)]
    pieces = (block for _, block in row_blocks(mine, config.chunk_rows or CHUNK_ROWS))
    basis = streamed_eigenbasis(
        pieces, mine.shape[1], config.input_rank, config.dtype, ranks.all_sum
    )
    return basis, streamed_rows(config, data.x_train, data.y_train, basis, ranks)


def held_out_rows(
    config: Config, data: Dataset, basis: Eigenbasis, ranks: Ranks
) -> RowsInMemory | StreamedRows:
    """Return this rank's held-out rows in the eigenbasis."""
    if not is_streamed(config, data, ranks):
        return RowsInMemory(basis.project(data.x_test.astype(config.dtype)), data.y_test)
    return streamed_rows(config, data.x_test, data.y_test, basis, ranks)


def streamed_rows(
    config: Config, x: NDArray, y: NDArray, basis: Eigenbasis, ranks: Ranks
) -> StreamedRows:
    """Return this rank's share of the rows x (n, d), in the eigenbasis and in chunks."""
    mine, rank = shard(len(x), ranks.rank, ranks.size), len(basis.values)
    chunk_rows = config.chunk_rows or CHUNK_ROWS
    return StreamedRows(x[mine], y[mine], basis.project, rank, chunk_rows, config.dtype)


def build_passes(
    sweep: Sweep,
    rows: RowsInMemory | StreamedRows,
    batch_rows: int,
    layers: list[NDArray],
    loss: Loss,
    ranks: Ranks,
) -> WholePass | StreamedPass:
    """Return what goes over the batches, whole or in chunks."""
    if isinstance(rows, RowsInMemory):
        return WholePass(sweep, Workspace(batch_rows, layers), loss)
    chunk = Workspace(min(rows.chunk_rows, batch_rows), layers)
    return StreamedPass(sweep, chunk, loss, ranks.all_sum)


def build_solvers(
    config: Config,
    basis: Eigenbasis,
    layers: list[NDArray],
    batch_size: int,
    rows: RowsInMemory | StreamedRows,
) -> list[LayerSolver]:
    """Return the solver of each layer: the eigenbasis for the data, --solver for the others."""
    lambda_w, lambda_h = penalties_of_layers(config)
    relative = not config.absolute_penalties
    shapes = [layer.shape for layer in layers]
    gram_every, factor_every = intervals(batch_size, shapes)
    if config.gram_average == 0:
        gram_every = factor_every = 1
    streamed = isinstance(rows, StreamedRows)  # then a batch's inputs are not there for CG
    solvers: list[LayerSolver] = [
        EigenbasisSolver(basis, Penalties(lambda_w[0], relative=relative))
    ]
    for w, h in zip(lambda_w[1:], lambda_h[1:], strict=True):
        penalties = Penalties(w, h, relative)
        average = MovingGram(config.gram_average)
        if config.solver == "gradient":
            solvers.append(GradientSolver(penalties))
        elif config.solver == "exact":
            solvers.append(FactoredSolver(penalties, average, gram_every, factor_every))
        else:
            solvers.append(
                CGSolver(
                    penalties,
                    average if config.gram_average or streamed else None,
                    rtol=config.cg_tolerance,
                    max_iterations=config.cg_iterations,
                    warm_start=config.warm_start,
                    precondition=config.precondition,
                    factor_every=factor_every,
                )
            )
    return solvers


def build_control(config: Config, start: float) -> TrustRegion | FixedStep:
    """Return what decides on the length of steps, for a training that starts with the loss.

    A start that is not finite leaves it to the first batch that is judged.
    """
    watch = LossWatch(start if np.isfinite(start) else None)
    if config.step_size is not None:
        return FixedStep(config.step_size, watch=watch)
    least, most = config.step_bounds
    return TrustRegion(bound=least, floor=least, ceiling=most, watch=watch)


def restored(control: TrustRegion | FixedStep, facts: dict[str, Any]) -> TrustRegion | FixedStep:
    """Return a control of the same kind as it was at a checkpoint."""
    return type(control)(**{**facts, "watch": LossWatch(**facts["watch"])})


def check_step_bounds(config: Config) -> None:
    """UserError unless the bounds are in order."""
    least, most = config.step_bounds
    if least > most:
        raise UserError(f"--step-bounds {least:g} {most:g}: give the smaller one first")


def by_layer(diagnostics: dict[str, list[float]]) -> list[dict[str, float]]:
    """Return one row a layer, for a table."""
    names, columns = list(diagnostics), zip(*diagnostics.values(), strict=True)
    return [
        {"layer": layer, **dict(zip(names, values, strict=True))}
        for layer, values in enumerate(columns, start=1)
    ]


def penalties_of_layers(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return λ_w and λ_h of each layer; UserError for lists of the wrong length."""
    layers = len(config.hidden_widths) + 1
    lambda_w = config.lambda_w_layers or (INPUT_LAMBDA_W, *[HIDDEN_LAMBDA_W] * (layers - 1))
    return (
        per_layer(lambda_w, layers, "--lambda-w-layers"),
        per_layer(config.lambda_h_layers, layers, "--lambda-h-layers"),
    )


def with_depth(config: Config) -> Config:
    """Return `config` with the number of layers that --widths implies."""
    return replace(config, num_layers=len(config.hidden_widths) + 1)


def with_data_set(config: Config) -> Config:
    """Return `config` with a data set: HIGGS where its file is at hand, otherwise MNIST."""
    if config.dataset is not None:
        return config
    path = find_higgs(config.data_dir)
    chosen = "higgs" if path is not None and path.name.startswith("HIGGS.csv") else "mnist"
    reason = "its file is at hand" if chosen == "higgs" else "no HIGGS.csv is at hand"
    print(f"Data set: {chosen.upper()} ({reason}; --dataset names another)", flush=True)
    return replace(config, dataset=chosen)


# Notes for those who change it next
# ----------------------------------
# Measured figures, commands and tags: AGENTS.md.
#
# - The loop above is the whole algorithm; its arithmetic is in back_projection/: sweep.py (the
#   order of things), layer_solvers.py (one layer), moving_gram.py (factors kept between batches),
#   step_control.py (how far to go). tests/back_projection/textbook_sweep.py says the same slowly:
#   change both, or explain the difference in a test.
# - The length of a step made depth hard. Its squared length must be bounded *before* the momentum:
#   bounding what momentum has summed up lets one bad batch spoil ten steps.
# - What is passed down is Δ whole. Subtracting H̃ δW̃, as the textbook has it, takes away what a
#   full step would do, and only a small one is made: far worse at 8 layers.
# - Finite λ_h costs more products a layer. At 10 it is as good as ∞ in 8 layers, with strong λ_w
#   slightly better (figures/bench_lambda_map), and less stable at 40; at 1 and below it is worse.
# - λ_w 0.01 in hidden layers is no better in shallow networks and explodes at 100 layers.
# - Rescaling each layer's change by the size of its Δ (as two-sided curvature would) was tried and
#   is worse at 40 and 100 layers.
# - At 100 layers results depend on the seed through the scale of the initial activations, which
#   drifts like a random walk; the other methods suffer likewise.
# - A batch is a sequence of chunks. WholePass can do everything with a batch of one chunk;
#   StreamedPass needs only sums over any number of chunks, and so cannot pass down what δW̃ leaves,
#   nor change a layer before those below. Between ranks the same sums are added up: every rank then
#   solves all layers itself, from the same bits.
# - Whatever decides something (losses judged, errors raised) must come from summed numbers: ranks
#   that disagree wait for each other until --rank-timeout.
# - Checkpoints hold weights, velocity, control and the state of the shuffles, not the solvers'
#   memory: after --resume Gram averages begin anew. With --gram-average 0 nothing is lost.
# - On the HIGGS sample λ_w of 30 to 300 in hidden layers generalises best, 0.1 in the input layer
#   and steps ten times as long as on MNIST; on 200,000 rows of higgs-like λ_w of 1 to 10 does.
# - In large batches the steps may be long (--step-bounds 0.05 1).
# - Nothing here is timed at run time: intervals are counted in operations (moving_gram.py), so that
#   the same seed gives the same bits.

if __name__ == "__main__":
    run_main(main)
