"""What an optimizer of PyTorch adds to forward and backward pass: CPU time and memory."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from new_algorithm.cli.progress import progress
from new_algorithm.methods import optimizers
from new_algorithm.methods.method import Settings
from new_algorithm.methods.registry import METHODS
from new_algorithm.plots.style import MARKERS, legend_beside, plain_log_ticks
from new_algorithm.record.files import Row, read_csv

if TYPE_CHECKING:
    import torch
    from torch import nn

OPTIMIZERS: dict[str, tuple[optimizers.Build, Settings]] = {
    "AdamW": (optimizers.adamw, METHODS["adamw"].defaults),
    "Muon": (optimizers.muon, METHODS["muon"].defaults | {"matrices": "all"}),
    "SOAP, sides up to 256": (optimizers.soap, METHODS["soap"].defaults),
    "SOAP, as published": (
        optimizers.soap,
        METHODS["soap"].defaults | {"renewed_every": 10, "largest_side": 10_000},
    ),
}
for outer in ("orthogonal", "trust", "adam"):
    settings = METHODS["back_projection_torch"].defaults | {"outer": outer, "lr": 1e-6}
    OPTIMIZERS[f"back projection, {outer}"] = optimizers.back_projection, settings
COSTS_FILE = "optimizer_cost.csv"
WARM_UP = 12  # iterations, after which factorisations are as rare as they stay
CYCLE = 20  # iterations between two factorisations
TIMED = 4 * CYCLE
MEGABYTE = 1e6


def subjects() -> "Iterator[tuple[str, nn.Module, torch.Tensor]]":
    """Yield a name, a module and its input, of each kind of layer and of small models."""
    import torch
    from torch import nn

    from new_algorithm.models.networks import Transformer, autoencoder, convolutional_network

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(128, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    torch.manual_seed(0)
    images, tokens = torch.randn(128, 64, 16, 16), torch.randint(65, (32, 64))
    yield "Linear 512 → 512, 128 rows", nn.Linear(512, 512), torch.randn(128, 512)
    yield "Conv2d 64 → 64, 3 × 3, 128 × 16 × 16", nn.Conv2d(64, 64, 3, padding=1), images
    grouped = nn.Conv2d(64, 64, 3, padding=1, groups=64)
    yield "Conv2d of 64 groups, 3 × 3, 128 × 16 × 16", grouped, images
    yield "MultiheadAttention 128, 32 × 64", SelfAttention(), torch.randn(32, 64, 128)
    yield "Embedding 65 × 128, 32 × 64", nn.Embedding(65, 128), tokens
    plain, normed = (convolutional_network(10, batch_norm) for batch_norm in (False, True))
    yield "plain CNN, 128 rows", plain, torch.randn(128, 3, 32, 32)
    yield "CNN with BatchNorm, 128 rows", normed, torch.randn(128, 3, 32, 32)
    yield "character transformer, 32 rows", Transformer(65, 64), tokens
    yield "autoencoder, 500 rows", autoencoder(784), torch.rand(500, 784)
    narrow = [layer for _ in range(40) for layer in (nn.Linear(64, 64), nn.ReLU())]
    yield "40 × Linear 64 → 64, 128 rows", nn.Sequential(*narrow), torch.randn(128, 64)


def measure() -> list[Row]:
    """Return, for each subject and optimizer, CPU milliseconds and megabytes of state."""
    cases = [(*subject, name) for subject in subjects() for name in OPTIMIZERS]
    return [
        {"subject": subject, "optimizer": name} | _cost(module, x, *OPTIMIZERS[name])
        for subject, module, x, name in progress(cases, "optimizers", len(cases))
    ]


def _cost(
    module: "nn.Module", x: "torch.Tensor", build: optimizers.Build, settings: Settings
) -> Row:
    """Time iterations of one optimizer on a copy of the module, without hooks of any other.

    The hooks of back projection are called within the passes, and count as the optimizer's.
    """
    model = copy.deepcopy(module)
    optimizer = build(model, settings)
    in_hooks: list[float] = []
    time_hooks(model, optimizer, in_hooks)
    run = iteration(model, x, optimizer)
    times = np.empty((WARM_UP + TIMED, 3))  # of passes, step and hooks
    for row in times:
        in_hooks.clear()
        row[:] = *run(), sum(in_hooks)
    both, step, hooks = times[WARM_UP:].T
    passes, own = steady_mean(both - hooks), steady_mean(step + hooks)
    return {
        "passes_ms": 1e3 * passes,
        "optimizer_ms": 1e3 * own,
        "times_of_passes": (passes + own) / passes,
        "state_mb": state_bytes(optimizer) / MEGABYTE,
    }


def time_hooks(
    model: "nn.Module", optimizer: "torch.optim.Optimizer", seconds: list[float]
) -> None:
    """Let every hook of the model, and what takes in what it shows, add its CPU seconds."""
    from new_algorithm.torch_optimizer import BackProjection

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            found = call(*args, **kwargs)
            seconds.append(time.process_time() - start)
            return found

        return run

    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            hooks.update({key: timed(hook) for key, hook in hooks.items()})
    if isinstance(optimizer, BackProjection):
        watches = optimizer.curvature.watches
        watches.count = timed(watches.count)  # type: ignore[method-assign]


def iteration(
    model: "nn.Module", x: "torch.Tensor", optimizer: "torch.optim.Optimizer"
) -> Callable[[], tuple[float, float]]:
    """Return a function that makes one iteration and returns the CPU seconds of passes and step."""

    def run() -> tuple[float, float]:
        start = time.process_time()
        model(x).square().mean().backward()
        middle = time.process_time()
        optimizer.step()
        end = time.process_time()
        model.zero_grad()
        return middle - start, end - middle

    return run


def steady_mean(seconds: NDArray) -> float:
    """Return the mean over a cycle of CYCLE iterations, of each the least over cycles: what a busy
    machine adds now and then does not count, what every cycle has once does."""
    return float(seconds.reshape(-1, CYCLE).min(0).mean())


def state_bytes(optimizer: "torch.optim.Optimizer") -> int:
    """Return the bytes of all tensors that the optimizer keeps; views count as what they show."""
    import torch

    nested = [optimizer.state, getattr(optimizer, "_adam", optimizer).state]
    tensors = {
        id(value): value
        for states in nested
        for state in states.values()
        for value in _leaves(state)
        if isinstance(value, torch.Tensor)
    }
    return sum(value.numel() * value.element_size() for value in tensors.values())


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def draw_optimizer_cost(figure: Figure, path: Path) -> None:
    """Subjects one below another, a marker an optimizer: time of an iteration, and memory."""
    rows = read_csv(path)
    subjects = list(dict.fromkeys(row["subject"] for row in rows))[::-1]
    panels = figure.subplots(1, 2, sharey=True)
    for axes, quantity, name in (
        (panels[0], "times_of_passes", "iteration, in times of its passes"),
        (panels[1], "state_mb", "state, MB"),
    ):
        for number, optimizer in enumerate(dict.fromkeys(row["optimizer"] for row in rows)):
            own = [row for row in rows if row["optimizer"] == optimizer]
            values = [float(row[quantity]) for row in own]
            places = [subjects.index(row["subject"]) for row in own]
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(values, places, linestyle="", marker=marker, label=optimizer)
        axes.set_xscale("log")
        axes.set_xlabel(name)
    plain_log_ticks(panels[0].xaxis)
    panels[0].set_yticks(range(len(subjects)), subjects)
    legend_beside(panels[1])
