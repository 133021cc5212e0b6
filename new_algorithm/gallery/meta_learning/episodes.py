"""Small learning problems by the dozen: what is learnt from, and what is asked afterwards."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AMPLITUDES, PHASES, INPUTS = (0.1, 5.0), (0.0, np.pi), (-5.0, 5.0)  # Finn et al. 2017, section 5.1
FREQUENCIES = (0.8, 1.2)  # which Li et al. 2017 draw as well; these bounds are ours


class Tasks(Protocol):
    """So many tasks, in parts that memory holds. asked: numbers in the new rows of one."""

    @property
    def asked(self) -> int: ...

    def __len__(self) -> int: ...

    def parts(self, size: int) -> "Iterable[Episodes]": ...


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

    @property
    def asked(self) -> int:
        return self.new_x[0].numel()

    def parts(self, size: int) -> "list[Episodes]":
        """Return the tasks in parts of at most `size`."""
        split = [getattr(self, field.name).split(size) for field in fields(self)]
        return [Episodes(*part) for part in zip(*split, strict=True)]


@dataclass(frozen=True)
class Places:
    """Tasks whose rows are places in one array, and copies of its rows only in their parts.

    rows (n, …). tasks: their x and new_x are int64 places in it (tasks, rows).
    """

    rows: Tensor
    tasks: Episodes

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def asked(self) -> int:
        return self.tasks.asked * self.rows[0].numel()

    def parts(self, size: int) -> Iterator[Episodes]:
        """Yield the tasks in parts of at most `size`."""
        for part in self.tasks.parts(size):
            yield replace(part, x=self.rows[part.x], new_x=self.rows[part.new_x])

    def whole(self) -> Episodes:
        (one,) = self.parts(len(self))
        return one


Sample = Callable[[np.random.Generator, int], Episodes]  # of so many tasks
Draw = Callable[[np.random.Generator, int], Places]


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
        (given, new_x), (known, new_y) = (array.split((shots, queries), 1) for array in moved)
        return Episodes(given, known, new_x, new_y)

    return sample


def new_classes(examples: Tensor, ways: int, shots: int, queries: int) -> Draw:
    """Tasks that tell apart `ways` classes, drawn from examples (classes, examples of each, …).

    A class has another label in each task, and no row is both learnt from and asked. ValueError
    where there are too few classes or examples.
    """
    classes, each = examples.shape[:2]
    if classes < ways or each < shots + queries:
        raise ValueError(f"{classes} classes of {each} for {ways} of {shots} + {queries}")

    def draw(rng: np.random.Generator, tasks: int) -> Places:
        drawn = rng.random((tasks, classes)).argsort(1)[:, None, :ways]
        order = rng.random((tasks, ways, each)).argsort(2)[:, :, : shots + queries]
        rows = order.swapaxes(1, 2)  # (tasks, examples of a class, ways)
        places = torch.from_numpy(drawn * each + rows).flatten(1).to(examples.device)
        labels = torch.arange(ways, device=examples.device).repeat(tasks, shots + queries)
        x, new_x = places.split((shots * ways, queries * ways), 1)
        y, new_y = labels.split((shots * ways, queries * ways), 1)
        return Places(examples.flatten(0, 1), Episodes(x, y, new_x, new_y))

    return draw


def with_rotations(examples: NDArray) -> NDArray:
    """Return four times as many classes: images (…, rows, columns) turned by 0, 90, 180 and 270°
    (Santoro et al. 2016)."""
    return np.concatenate([np.rot90(examples, turns, axes=(-2, -1)) for turns in range(4)])
