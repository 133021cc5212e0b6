"""`--check`: what a run would take, found out by its first steps, of which nothing is kept."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.back_projection.batch import rows_of_batch
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import CommonFlags
from new_algorithm.cli.progress import duration
from new_algorithm.cli.signals import counting_steps
from new_algorithm.record.layout import Layout
from new_algorithm.record.provenance import peak_memory
from new_algorithm.record.snapshots import LARGEST, MOST, Weights, named

SECONDS, LONGEST = 3.0, 60.0  # of steps after the first one; of that one
MEGABYTE = 1e6
MEMORY = Path("/proc/meminfo")
STATES = 5  # of the size of the weights, in a checkpoint: velocity, last good ones, Gram matrices


class Unrecorded:
    """Stands for a Run: notes sizes and troubles, and keeps nothing else."""

    checkpoint = earlier_epochs = None

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.weight_bytes = 0
        self.troubles: list[str] = []

    def save_weights(self, weights: Weights) -> None:
        arrays = named(weights).values()
        self.shapes = [array.shape for array in arrays]
        self.weight_bytes = sum(array.nbytes for array in arrays)

    def anomaly(self, text: str) -> None:
        self.troubles.append(text)

    def record_epoch(self, epoch: int, **numbers: Any) -> None: ...
    def save_checkpoint(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None: ...
    def save_snapshot(self, epoch: int, weights: Weights) -> None: ...
    def result(self, **numbers: float) -> None: ...


class _EnoughError(Exception):
    """The steps have taken long enough."""


class _Stopwatch:
    """begun: when it was made. ends: of the first step and of the last one."""

    def __init__(self) -> None:
        self.begun, self.ends, self.steps = time.monotonic(), (0.0, 0.0), 0

    def __call__(self) -> None:
        now = time.monotonic()
        self.ends = (self.ends[0] if self.steps else now), now
        self.steps += 1
        if now - self.ends[0] > SECONDS or self.ends[0] - self.begun > LONGEST:
            raise _EnoughError

    @property
    def seconds_a_step(self) -> float:
        """Without the first one, which has what is made once, unless there is no other."""
        first, last = self.ends
        return (last - first) / (self.steps - 1) if self.steps > 1 else last - self.begun


def check_run(config: CommonFlags, data: dict[str, Any], train: Callable[[Any], None]) -> None:
    """Print data, network, time, memory and disk of the run that these flags would make.

    data: its provenance. train: the training of the script, of which some seconds are made without
    a record. UserError where the disk or the memory would not do.
    """
    run, watch = Unrecorded(), _Stopwatch()
    try:
        with counting_steps(watch):
            train(run)
    except _EnoughError:
        pass
    rows = data["counts"]["train"]
    steps_an_epoch = rows // rows_of_batch(config.batch_size, rows)
    seconds, steps = watch.seconds_a_step, config.epochs * steps_an_epoch
    parts = ", ".join(f"{count:,} {part} rows" for part, count in data["counts"].items())
    classes = f"{data['num_classes']} classes" if data["num_classes"] else "a regression"
    if probabilities := data.get("probabilities"):
        classes = f"{probabilities} probabilities a row"
    print(f"Data: {data['name']}, {parts} of shape {data['shape']}, {classes}")
    print(f"Network: {run.shapes}, {run.weight_bytes / MEGABYTE:.3g} MB")
    print(
        f"Time: {_about(seconds * steps)} for {steps:,} steps of {1e3 * seconds:.3g} ms, "
        f"by the first {watch.steps}; evaluation comes on top"
    )
    for text in run.troubles:
        print(f"Anomaly: {text}")
    _check_memory()
    _check_disk(run.weight_bytes, config.epochs)
    print("Sound: nothing was recorded; the same command without --check trains", flush=True)


def _about(seconds: float) -> str:
    return f"about {duration(seconds)}" if seconds >= 1 else "under a second"


def _check_memory() -> None:
    """UserError where less than a tenth of the machine's memory was left to spare."""
    facts = dict(line.split(":") for line in MEMORY.read_text().splitlines())
    total, left = (1024 * int(facts[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    print(
        f"Memory: {peak_memory() / MEGABYTE:,.0f} MB at the most until now, "
        f"{left / MEGABYTE:,.0f} MB more are free"
    )
    if left < total / 10:
        raise UserError(
            f"--check: only {left / MEGABYTE:,.0f} MB of memory are left: take fewer rows by "
            "--train-limit, a narrower network, or end other programs"
        )


def _check_disk(weights: int, epochs: int) -> None:
    """UserError where the record would not find room."""
    snapshots = min(MOST * weights, max(LARGEST, 2 * weights), (epochs + 1) * weights)
    needed, layout = weights + 2 * STATES * weights + snapshots, Layout()
    place = next(path for path in (layout.records, *layout.records.parents) if path.exists())
    free = shutil.disk_usage(place).free
    print(
        f"Disk: about {needed / MEGABYTE:,.1f} MB in {layout.relative(layout.records)}/, "
        f"{free / MEGABYTE:,.0f} MB are free"
    )
    if needed > free:
        raise UserError(
            f"--check: {layout.relative(layout.records)}/ has too little room: free some space"
        )
