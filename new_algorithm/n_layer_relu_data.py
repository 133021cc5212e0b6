"""N-layer back projection on a data set: layerwise damped least squares for deep ReLU networks.

Each iteration takes a batch, computes the residual at the output, and projects it back: at every
layer a damped least-squares problem says how the weights should change and what the layer below
is asked for. The input layer is solved in the leading eigenvectors of the data, hidden layers with
a moving average of their Gram matrices; the size of a step follows from the decrease of the loss
that it predicts, checked against the decrease that comes.

    python new_algorithm/n_layer_relu_data.py                     # HIGGS if it is there, or MNIST
    python new_algorithm/n_layer_relu_data.py --dataset mnist --num-layers 21 --epochs 4
    python new_algorithm/n_layer_relu_data.py --dataset FILE.csv --target COLUMN --widths 64 64
    python new_algorithm/n_layer_relu_data.py --dataset FILE.npz --widths 256 128 64 --verbose
    python new_algorithm/n_layer_relu_data.py --dataset mnist-autoencoder --widths 250 30 250
    python new_algorithm/n_layer_relu_data.py --preset two-layer
    python new_algorithm/n_layer_relu_data.py --preset faithful --epochs 50
    python new_algorithm/n_layer_relu_data.py --preset higgs --dataset higgs-like:2600000
    torchrun --standalone --nproc-per-node 2 new_algorithm/n_layer_relu_data.py --batch-size full

Presets name networks: `deep`, 8 hidden layers of 64, the default; with HIGGS `higgs`, 28-256-256-1;
`two-layer`, 784-512-10. How they are trained follows from rows, widths and depth, and is printed
(methods/back_projection_defaults.py); a flag that is given wins. `faithful` is the original
formulation instead: full batch, conjugate gradients, a finite λ_h on what is passed down,
Δ − H̃ δW̃, η = 1, no momentum (the data keep their eigenbasis, and rollback stays). What is passed
down otherwise is the back-propagated residual, but for dead units of networks with a bottleneck: a
finite λ_h, by default from ten hidden layers on, acts in the layers' own problems.

Large files, and ranks of torchrun, are gone through in chunks: a batch of any size, the full one
included, takes the memory of one chunk, and only sums are exchanged. A run that was cut short, by a
signal or a kill, goes on with --resume, and ends with the same numbers as one that was not. A
finished run goes on with --resume and more --epochs; its schedule is then that of all the epochs:
the step size rises again to where a run of that length would have it.

Writes ploting_data/TAG/, figures/TAG/ and _logs/. Choose settings with --held-out validation.

Notes for those who change it next are at the end of the file.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from datasets import Dataset, find_higgs, load_dataset
from new_algorithm.back_projection.diagnostics import EpochSummary
from new_algorithm.back_projection.network import weight_norms
from new_algorithm.cli.console import run_main
from new_algorithm.cli.flags import NetworkFlags, PositiveFloat, PositiveInt, default_as, parse
from new_algorithm.cli.pauses import Pauses
from new_algorithm.cli.progress import progress
from new_algorithm.cli.ranks import Ranks, join_ranks
from new_algorithm.cli.signals import held
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.back_projection_defaults import following, in_words
from new_algorithm.methods.back_projection_settings import PRESETS, Settings
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.chunks import chunk_rows_in_force, comes_in_chunks
from new_algorithm.methods.method import Problem
from new_algorithm.profiling.session import profiled
from new_algorithm.record.files import format_table
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.resuming import first_fits, fitting_checkpoint
from new_algorithm.record.run import Run
from new_algorithm.record.trial import check_run


@dataclass(frozen=True, kw_only=True)
class Config(Settings, NetworkFlags):
    preset: Annotated[
        Literal["deep", "two-layer", "higgs", "faithful"] | None,
        default_as("deep, with HIGGS higgs"),
    ] = None
    """Where the defaults below come from; see above."""
    dataset: str | None = None  # type: ignore[assignment]  # until the files are looked for
    """mnist, mnist-autoencoder, mnist1d, higgs, higgs-like:ROWS, synthetic, regression, spirals,
    table:NAME, a public table, or a file of your own, .csv, .tsv, .csv.gz, .parquet or .npz;
    by default HIGGS if HIGGS.csv is there, or MNIST."""
    num_layers: PositiveInt = 9
    """Weight layers, the output layer included."""
    hidden_dim: PositiveInt = 64
    epochs: PositiveInt = 5
    verbose: bool = False
    """Print the diagnostics of every layer after each epoch."""
    rank_timeout: PositiveFloat = 300.0
    """Under torchrun: seconds to wait for another rank before the run ends. torchrun then waits 30
    more for a rank that hangs (its own --shutdown-timeout), and ends with status 1 whatever the
    ranks end with, also where it is stopped."""
    resume: bool = False
    """Go on with the run that --tag names: one that was cut short with the same flags, one that is
    finished with more --epochs."""
    checkpoint_minutes: PositiveFloat | None = None
    """Save the state so often, and not at the end of each epoch alone."""


def main() -> None:
    config = read_config()
    check_tag(config.tag, config.overwrite, resume=config.resume)
    fix_threads(config.threads)
    with join_ranks(config.rank_timeout) as ranks, ExitStack() as stack:
        data = load_dataset(**config.data_arguments())
        given, in_chunks = config, comes_in_chunks(config, data, ranks)
        config = in_force(given, len(data.x_train), in_chunks)
        if ranks.rank == 0 and (follows := in_words(given, config)):
            print(f"Settings that follow from rows and network: {follows}", flush=True)
        chunk_rows = chunk_rows_in_force(config, data, ranks)
        if config.check:
            work = partial(train_and_record, config, data, chunk_rows, ranks=ranks)
            check_run(config, data.provenance(), work)
            return
        run = None
        if ranks.rank == 0:  # which alone keeps the record
            record = Run.open(
                script=Path(__file__), config=config, data=data.provenance(), resume=config.resume
            )
            run = stack.enter_context(record)
        with profiled(config.profile, "NumPy", run):
            train_and_record(config, data, chunk_rows, run, ranks)


def train_and_record(
    config: Config, data: Dataset, chunk_rows: int | None, run: Run | None, ranks: Ranks
) -> None:
    """Train to the end, from where the run was cut short; only one rank has a run to record in."""
    problem = Problem(data, config.hidden_widths, config.epochs, config.seed)
    training = Training(config, problem, chunk_rows, ranks)
    goes_on = begin(training, run)
    pauses = Pauses(ranks, config.checkpoint_minutes)
    epochs = train(training, pauses)
    with held():
        for steps in first_fits(epochs) if goes_on else epochs:
            if steps is not None:
                record_epoch(training, steps, run, config.verbose)
                pauses.due()
            else:
                checkpoint = training.state_dict()
                if run is not None:
                    run.save_checkpoint(*checkpoint)
            pauses.go_on()


def train(training: Training, pauses: Pauses) -> Iterator[EpochSummary | None]:
    """Train to the last epoch; yield what the steps of each came to as soon as it is over, and None
    where there is a pause between two steps.

    `Training.epochs`, which comparisons use, has the same loop.
    """
    while training.epoch < training.last_epoch:
        name = f"epoch {training.epoch + 1}"
        while training.steps_left:
            with training.clock:
                for batch in progress(training.batches, name, training.steps_left):
                    training.step(batch)
                    if training.steps_left and pauses.due():
                        break
            if training.steps_left:
                yield None
        steps = training.end_epoch()
        yield steps
        training.check_progress(steps)


def begin(training: Training, run: Run | None) -> bool:
    """Record the start, or take up the training where it was cut short; whether it goes on."""
    checkpoint = training.ranks.from_first(run.checkpoint if run is not None else None)
    if checkpoint is not None:
        with fitting_checkpoint():
            training.load_state_dict(*checkpoint)
            if run is not None and run.earlier_epochs is not None:
                print(f"Schedule: {training.lengthened(run.earlier_epochs)}", flush=True)
    elif run is not None:
        basis = training.basis
        run.result(input_rank=len(basis.values), input_explained_share=basis.explained)
        run.save_weights(training.weights)
        run.save_snapshot(0, training.weights)
    return checkpoint is not None


def record_epoch(training: Training, steps: EpochSummary, run: Run | None, verbose: bool) -> None:
    """Evaluate with all ranks; then record, print, and save where there is a record."""
    sent_bytes = training.sent_bytes
    train_scores, held_out_scores = training.evaluate(steps)
    agreed = training.agree()
    checkpoint = training.state_dict()  # by all ranks, which exchange their shuffles
    if run is None:
        return
    run.save_weights(training.weights)
    run.save_snapshot(training.epoch, training.weights)
    if not agreed:  # on machines of different kinds
        steps.notes.append("the ranks' weights differ; all take those of rank 0")
    for text in steps.anomalies():
        run.anomaly(f"epoch {training.epoch}: {text}")
    numbers, diagnostics = steps.numbers(), training.diagnose()
    control, norms = training.optimizer.control.numbers(), weight_norms(training.optimizer.weights)
    run.record_epoch(
        training.epoch,
        train=train_scores,
        held_out=held_out_scores,
        layer_norms=norms,
        clock=training.clock,
        **numbers,
        **control,
        **diagnostics,
        sent_bytes=sent_bytes,
    )
    run.save_checkpoint(*checkpoint)
    if verbose:
        columns = {"weight_norms": norms, **diagnostics, "cg_iterations": numbers["cg_iterations"]}
        rows = [
            {"layer": layer, **dict(zip(columns, values, strict=True))}
            for layer, values in enumerate(zip(*columns.values(), strict=True), start=1)
        ]
        in_force = ", ".join(f"{name} {value:.3g}" for name, value in control.items())
        print(f"In force: {in_force}\n{format_table(rows)}", flush=True)


def read_config() -> Config:
    """The flags, with the data set and the preset that follow where none is named."""
    named = {name: Config(**{"preset": name} | flags) for name, flags in PRESETS.items()}
    config = parse(Config, __doc__, presets={None: replace(named["deep"], preset=None)} | named)
    config = with_preset(with_data_set(config), named["higgs"])
    config.check_penalties(len(config.hidden_widths) + 1)
    return config


def in_force(config: Config, rows: int, in_chunks: bool = False) -> Config:
    """Return `config` with what follows from so many training rows and the network, the penalties
    of every layer, and as many layers as --widths implies."""
    config = following(config, rows, config.hidden_widths, in_chunks)
    layers = len(config.hidden_widths) + 1
    config.check_penalties(layers)
    penalties = config.penalties(layers)
    return replace(
        config,
        num_layers=layers,
        lambda_w_layers=tuple(one.lambda_w for one in penalties),
        lambda_h_layers=config.lambda_h(layers),
    )


def with_data_set(config: Config) -> Config:
    """Return `config` with a data set: HIGGS where its file is at hand, otherwise MNIST."""
    if config.dataset is not None:
        return config
    path = find_higgs(config.data_dir)
    chosen = "higgs" if path is not None and path.name.startswith("HIGGS.csv") else "mnist"
    reason = "its file is at hand" if chosen == "higgs" else "no HIGGS.csv is at hand"
    print(f"Data set: {chosen.upper()} ({reason}; --dataset names another)", flush=True)
    return replace(config, dataset=chosen)


def with_preset(config: Config, of_higgs: Config) -> Config:
    """Return `config` if it names a preset; else for HIGGS the flags on the defaults `of_higgs`."""
    if config.preset is not None:
        return config
    if config.dataset != "higgs":
        return replace(config, preset="deep")
    print("Preset: higgs, made for these data (--preset names another)", flush=True)
    defaults: dict[str | None, Config] = {None: of_higgs}
    return parse(Config, __doc__, presets=defaults)


# Notes for those who change it next (measured figures, commands and tags: AGENTS.md)
# -----------------------------------------------------------------------------------
# - `train` above is the loop; a step is BackProjection.step in back_projection/optimizer.py, the
#   sweep that it makes sweep.py, one layer's problem layer_problem.py and solvers/, step sizes
#   step_control.py, what makes steps of changes outer_steps.py, λ_h in a layer's own problem
#   right_factors.py. back_projection/reference.py says the same slowly, its optimizer for λ_h = ∞
#   and momentum alone: change both, or explain the difference in a test.
# - In deep networks the step size was the obstacle. Its squared length must be bounded *before*
#   the momentum: bounding what momentum has summed up lets one bad batch spoil ten steps.
# - What is passed down is Δ whole. Subtracting H̃ δW̃, as the exact solution of (P) has it, takes
#   away what a full step would do, and only a small one is made: far worse at 8 layers.
# - Passed down, finite λ_h is no direction of descent: at 10 it is as good as ∞ in 8 layers, with
#   strong λ_w slightly better (figures/bench_lambda_map), and less stable at 40; at 1 and below it
#   is worse. In the layer's own problem it always descends; what lies above is shown by labels
#   drawn from the predictions, as KFRA's recursion, which needs none, is far worse in full batch.
# - λ_w 0.01 in hidden layers explodes at 100 layers; from .03 to 3 it hardly matters in 20 and 40.
# - Decay is worth more than any of the steps, beside the full step more than with η, and a little
#   inside (P) as well. Early on it kills deep networks: it waits for the loss.
# - Rescaling each layer's change by the size of its Δ (as two-sided curvature would) was tried and
#   is worse at 40 and 100 layers.
# - The scale of the initial activations drifts with depth like a random walk: at 100 layers it made
#   results depend on the seed, for all methods, until `Problem.start` scaled them.
# - A batch is a sequence of chunks. Passing down what δW̃ leaves, and changing a layer before those
#   below, need a batch of one chunk. Between ranks sums are added up: every rank then solves all
#   layers itself, from the same bits.
# - Whatever decides something (losses judged, errors raised) must come from summed numbers: ranks
#   that disagree wait for each other until --rank-timeout.
# - Units that no row activates stay dead where the ReLU's mask decides: the code of 30 of an
#   autoencoder loses five to twelve. --relu-target revive ends it; in plain deep networks it harms.
# - Nothing here is timed at run time: intervals are counted in operations (gram.py), so that the
#   same seed gives the same bits.

if __name__ == "__main__":
    run_main(main)
