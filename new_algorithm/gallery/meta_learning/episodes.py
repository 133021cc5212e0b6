"""Small learning problems by the dozen: what is learnt from, and what is asked afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AMPLITUDES, PHASES, INPUTS = (0.1, 5.0), (0.0, np.pi), (-5.0, 5.0)  # Finn et al. 2017, section 5.1
FREQUENCIES = (0.8, 1.2)  # which Li et al. 2017 draw as well; these bounds are ours


@dataclass(frozen=True)
class Episodes:
    """Tasks of equal size. x, y: what each learns from, (tasks, rows, …); new_x, new_y: what it
    is asked. Targets are numbers (…, outputs), or of classes int64 labels."""

    x: Tensor
    y: Tensor
    new_x: Tensor
    new_y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def parts(self, size: int) -> "list[Episodes]":
        """Return the tasks in parts of at most `size`."""
        split = [getattr(self, field.name).split(size) for field in fields(self)]
        return [Episodes(*part) for part in zip(*split, strict=True)]


Sample = Callable[[np.random.Generator, int], Episodes]  # of so many tasks


def sinusoids(
    shots: int, queries: int, device: torch.device, *, frequencies: tuple[float, float] = (1.0, 1.0)
) -> Sample:
    """Tasks y = a sin(ω x − p) with a, ω and p of their own, x uniform in INPUTS."""

    def sample(rng: np.random.Generator, tasks: int) -> Episodes:
        amplitude, phase, frequency = (
            rng.uniform(*bounds, (tasks, 1, 1)) for bounds in (AMPLITUDES, PHASES, frequencies)
        )
        x = rng.uniform(*INPUTS, (tasks, shots + queries, 1))
        y = amplitude * np.sin(frequency * x - phase)
        moved = [torch.from_numpy(array.astype(np.float32)).to(device) for array in (x, y)]
        return _cut(moved[0], moved[1], shots)

    return sample


def new_classes(examples: Tensor, ways: int, shots: int, queries: int) -> Sample:
    """Tasks that tell apart `ways` classes, drawn from examples (classes, examples of each, …).

    A class has another label in each task, and no row is both learnt from and asked. ValueError
    where there are too few classes or examples.
    """
    classes, each = examples.shape[:2]
    if classes < ways or each < shots + queries:
        raise ValueError(f"{classes} classes of {each} for {ways} of {shots} + {queries}")

    def sample(rng: np.random.Generator, tasks: int) -> Episodes:
        drawn = rng.random((tasks, classes)).argsort(1)[:, None, :ways]
        order = rng.random((tasks, ways, each)).argsort(2)[:, :, : shots + queries]
        rows = order.swapaxes(1, 2)  # (tasks, examples of a class, ways)
        at, row = (torch.from_numpy(index).to(examples.device) for index in (drawn, rows))
        labels = torch.arange(ways, device=examples.device).repeat(tasks, shots + queries)
        return _cut(examples[at, row].flatten(1, 2), labels, shots * ways)

    return sample


def with_rotations(examples: NDArray) -> NDArray:
    """Return four times as many classes: images (…, rows, columns) turned by 0, 90, 180 and 270°
    (Santoro et al. 2016)."""
    return np.concatenate([np.rot90(examples, turns, axes=(-2, -1)) for turns in range(4)])


def _cut(x: Tensor, y: Tensor, rows: int) -> Episodes:
    return Episodes(x[:, :rows], y[:, :rows], x[:, rows:], y[:, rows:])
