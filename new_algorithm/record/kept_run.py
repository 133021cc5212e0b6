"""A run that was kept: found by its tag, with the weights that it left."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import Layout
from new_algorithm.record.snapshots import read_arrays, snapshots
from new_algorithm.record.weights import BEST_FILE, WEIGHTS_FILE

# Whose weights.npz holds the layers W̃ of a ReLU network on a data set.
RELU_SCRIPTS = ("n_layer_relu_data.py", "two_layer_relu_data.py", "bench_mnist.py")


@dataclass(frozen=True)
class KeptRun:
    """tag: as it was asked for. folder: where its record lies, `where` for a reader. record:
    run.json."""

    tag: str
    folder: Path
    where: str
    record: dict[str, Any]

    @property
    def script(self) -> str:
        return Path(self.record.get("script") or "").name

    @property
    def again(self) -> str:
        """What to do for weights that are not there."""
        _, in_experiment, name = self.tag.rpartition("/")
        then = f", then name {name}" if in_experiment else ""
        return f"run `{self.record['command']}` again{then}"

    def weights_of(self, which: str | None) -> tuple[Path, int]:
        """The file with the weights that `which` names, and their epoch.

        which: best, last, the number of an epoch that was kept, or None for the best where rows
        were held out for validation, and else the last. UserError where there is none.
        """
        kept = snapshots(self.folder)
        best = self.folder / BEST_FILE
        if which == "best" or (which is None and best.exists()):
            if not best.exists():
                raise UserError(
                    f"{self.tag}: {self.where}/{BEST_FILE} is missing: weights are chosen on "
                    "validation rows alone, train with --held-out validation"
                )
            return best, int(self.record["final_metrics"].get("best_epoch", 0))
        if which in (None, "last"):
            return self.folder / WEIGHTS_FILE, last_epoch(self.record)
        if which is not None and which.isdecimal() and int(which) in kept:
            return kept[int(which)], int(which)
        numbers = " ".join(map(str, kept)) or "none"
        raise UserError(
            f"--weights {which}: choose best, last, or one of the epochs that were kept, {numbers}"
        )

    def read(self, path: Path) -> dict[str, NDArray]:
        """The arrays of a file of weights. UserError where it is missing or damaged."""
        name = path.relative_to(self.folder).as_posix()
        if not path.exists():
            raise UserError(
                f"{self.tag}: {self.where}/{name} is missing (it is never committed): {self.again}"
            )
        try:
            return read_arrays(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.tag}: {self.where}/{name} cannot be read ({error}): {self.again}"
            ) from error


def find_run(tag: str, layout: Layout) -> KeptRun:
    """The run of a tag, or of EXPERIMENT/RUN. UserError where there is none."""
    experiment, _, name = tag.rpartition("/")
    layout = replace(layout, group=experiment) if experiment else layout
    folder = layout.record(name)
    record, where = read_record(folder), layout.relative(folder)
    if record is None:
        raise UserError(
            f"{tag}: {where}/run.json is missing or damaged: name a run of ploting_data/"
        )
    return KeptRun(tag, folder, where, record)


def last_epoch(record: dict[str, Any]) -> int:
    """Of the weights in weights.npz; older runs kept those of the lowest train loss, and noted
    which."""
    metrics = record.get("final_metrics") or {}
    return int(metrics.get("saved_epoch", metrics.get("epoch", 0)))


def layers_of(arrays: Mapping[str, NDArray]) -> list[NDArray]:
    """The layers W̃ of a ReLU network from the input on; KeyError where one is missing, ValueError
    where it has not a row for each output of the layer below and one of biases."""
    layers = [arrays[f"layer_{layer}"] for layer in range(1, len(arrays) + 1)]
    for layer, weight in enumerate(layers, start=1):
        rows = layers[layer - 2].shape[-1] + 1 if layer > 1 else len(weight)
        if weight.ndim != 2 or len(weight) != rows or weight.dtype.kind != "f":
            raise ValueError(f"layer_{layer} is {weight.dtype} of shape {weight.shape}")
    return layers
