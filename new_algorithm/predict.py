"""What a trained network says of new rows, from the record of its run alone.

    python new_algorithm/predict.py TAG FILE --output OUT.csv    # a class or a value for each row
    python new_algorithm/predict.py TAG FILE                     # scores, of rows with a target
    python new_algorithm/predict.py TAG --export torch FILE.pt2  # for programs without this one
    python new_algorithm/predict.py TAG --export onnx FILE.onnx

TAG is a run of n_layer_relu_data.py, two_layer_relu_data.py or bench_mnist.py made on this machine:
its weights are never committed. FILE is a table, .csv, .tsv, .csv.gz or .parquet, with the columns
of the one that was trained on, by name and in any order; or an .npz file with x, and y if there is
one. Rows are prepared as the training rows were, block by block.

OUT.csv has a line a row of FILE, in its order: the class, named as in the training file, and the
probability of each, or the value in the target's own units. Where FILE has the target column too,
accuracy, the area under the ROC curve or the root of the mean square error are printed.

What is exported takes rows of numbers, NaN where one is missing: the columns in their recorded
order, of a column of texts the place of the text among its categories, from 0, and -1 for others.
Filling in, one-hot columns and standardising are inside. It gives probabilities, or values.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from datasets.new_rows import open_new_rows
from new_algorithm.cli.console import notice, run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import Threads, default_as, parse, validate_tag
from new_algorithm.cli.threads import fix_threads
from new_algorithm.prediction.predictions import Predicted, predict
from new_algorithm.prediction.trained_network import TrainedNetwork, trained_network
from new_algorithm.record.kept_run import find_run
from new_algorithm.record.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Config:
    of: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TAG")]
    """The run: a folder in ploting_data/, or in that of an experiment."""
    file: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE", help_behavior_hint="")
    ] = None
    """New rows."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="OUT.csv", help_behavior_hint="")] = None
    """Where to write the predictions."""
    weights: Annotated[
        str | None,
        default_as(
            "best where it was trained with --held-out validation", metavar="{best,last,EPOCH}"
        ),
    ] = None
    """Those that did best on validation rows, the last epoch's, or those of an epoch that was
    kept."""
    export: Annotated[
        tuple[Literal["torch", "onnx"], Path] | None,
        tyro.conf.arg(metavar="{torch,onnx} FILE", help_behavior_hint=""),
    ] = None
    """Write the network with its preprocessing, loaded by torch.export.load or by ONNX Runtime."""
    overwrite: bool = False
    """Replace files that exist."""
    threads: Threads = 1
    """Threads for BLAS and OpenMP."""


def main() -> None:
    config = parse(Config, __doc__)
    fix_threads(config.threads)
    answer(config, Layout())


def answer(config: Config, layout: Layout) -> None:
    """Predict and export, as asked. UserError where nothing is asked or a file is in the way."""
    for folder in config.of.split("/", 1):
        validate_tag(folder, "TAG")
    check_files(config)
    network, which = trained_network(find_run(config.of, layout), config.weights)
    print(f"Weights: {which}", flush=True)
    if config.file is not None:
        write_predictions(config, config.file, network)
    if config.export is not None:
        from new_algorithm.prediction.exports import export

        kind, path = config.export
        export(kind, network, path)
        print(f"Wrote {path}", flush=True)


def check_files(config: Config) -> None:
    """UserError unless there is something to do, and no file to be lost by it."""
    if config.file is None and config.export is None:
        raise UserError("nothing to do: name a FILE with new rows, or --export the network")
    if config.file is None and config.output is not None:
        raise UserError("--output is for predictions: name the FILE with new rows")
    exported = None if config.export is None else config.export[1]
    for flag, path in (("--output", config.output), ("--export", exported)):
        if path is None:
            continue
        if config.file is not None and path.resolve() == config.file.resolve():
            raise UserError(f"{flag} {path}: that is the file of new rows; choose another name")
        if path.exists() and not config.overwrite:
            raise UserError(f"{flag} {path} exists: choose another name, or add --overwrite")
        if not path.absolute().parent.is_dir():
            raise UserError(f"{flag} {path}: there is no such folder; make it first")


def write_predictions(config: Config, file: Path, network: TrainedNetwork) -> None:
    targets = network.answer.columns
    new = open_new_rows(file, network.preprocessing, targets, network.dropped)
    if config.output is None and not new.has_targets:
        names = ", ".join(repr(column.name) for column in targets if column.name) or "y"
        raise UserError(f"{file} has no target {names} to compare with: add --output OUT.csv")
    predicted = predict(network, new, config.output)
    if new.ignored:
        notice(f"{file}: columns that the network does not know are ignored: {_few(new.ignored)}")
    tell(file, predicted, new.has_targets)
    if config.output is not None:
        print(f"Wrote {predicted.rows:,} predictions to {config.output}", flush=True)


def tell(file: Path, predicted: Predicted, has_targets: bool) -> None:
    for column, count in predicted.unknown.items():
        notice(f"{file}: {count:,} texts of column {column!r} are none that the network knows")
    scores = predicted.scores
    if scores.unknown:
        notice(f"{file}: {scores.unknown:,} rows have labels unknown to the network, counted wrong")
    if scores.rows:
        found = ", ".join(f"{name}={value:.6g}" for name, value in scores.values().items())
        print(f"Scores over {scores.rows:,} rows: {found}", flush=True)
    elif has_targets:
        print("Scores: none, no row has a target", flush=True)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


if __name__ == "__main__":
    run_main(main)
