"""Refusals in one line: settings that make no sense, and models that cannot be trained here."""

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, SupportsFloat

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer.layers import TRANSPOSED
from new_algorithm.torch_optimizer.outer_steps import OUTER

SHARDED = ("DTensor", "FlatParameter", "FullyShardedDataParallel")  # by name: imports take seconds
NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda value: 0 <= value < math.inf, "finite and at least 0"),
    "lambda_w": (lambda value: 0 < value < math.inf, "finite and above 0"),
    "momentum": (lambda value: 0 <= value < 1, "in [0, 1)"),
    "weight_decay": (lambda value: 0 <= value < math.inf, "finite and at least 0"),
    "gram_decay": (lambda value: 0 <= value < 1, "in [0, 1)"),
    "rest_lr": (lambda value: 0 <= value < math.inf, "finite and at least 0"),
    "eps": (lambda value: 0 < value < math.inf, "finite and above 0"),
}

OF_ALL_GROUPS = (
    "lambda_h",
    "outer",
    "gram_every",
    "factor_every",
    "rows",
    "widest",
    "rest",
    "judge_every",
    "process_group",
)


def warn(text: str) -> None:
    """Warn of the line that called, from outside torch and this package."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RuntimeWarning, stacklevel=level)


def _is_ours(module: str) -> bool:
    return f"{module}.".startswith(("torch.", "new_algorithm.torch_optimizer."))


def check_model(model: object) -> None:
    """TypeError for what is no model; ValueError for parameters in shards."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"BackProjection takes the model itself, which shows its layers' inputs, not a "
            f"{type(model).__name__}: BackProjection(model), or BackProjection(model, parameters)"
        )
    for name, part in (*model.named_parameters(), *model.named_modules()):
        if type(part).__name__ in SHARDED:
            raise ValueError(
                f"{name or 'the model'} is in shards (FSDP or another DTensor), and a layer's "
                "problem needs whole weights: use DistributedDataParallel"
            )
    for name, module in model.named_modules():
        if isinstance(module, TRANSPOSED):
            warn(f"{name}: no layer problem for {type(module).__name__} yet; AdamW trains it")


def process_group_of(model: nn.Module) -> Any:
    """Return the ranks of a DistributedDataParallel model, or of one within; None if it is none."""
    for module in model.modules():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            return module.process_group
    initialized = torch.distributed.is_available() and torch.distributed.is_initialized()
    if initialized and torch.distributed.get_world_size() > 1:
        warn(
            "BackProjection sees no DistributedDataParallel: each rank has Gram matrices of its "
            "own, and steps of its own with them. Give it the wrapped model, or process_group="
        )
    return None


def check_settings(outer: str, lambda_h: float, counts: Mapping[str, int]) -> None:
    """ValueError for what is not a setting, or not one of this outer step, or a count below 1."""
    if outer not in OUTER:
        raise ValueError(f"outer={outer!r}: choose one of {', '.join(OUTER)}")
    if not lambda_h > 0:
        raise ValueError(f"lambda_h={lambda_h:g}: give a number above 0, or infinity")
    if outer == "orthogonal" and lambda_h < math.inf:
        raise ValueError(
            f"lambda_h={lambda_h:g}: outer='orthogonal' whitens the outputs by itself: leave "
            "lambda_h out, or choose outer='trust' or 'adam'"
        )
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value}: give a whole number of at least 1")


def parameters_for_adamw(
    model: nn.Module, rest: nn.Module | Tensor | Iterable[nn.Module | Tensor]
) -> set[Tensor]:
    """Return the parameters of `rest`; TypeError or ValueError for what is no part of the model."""
    found: set[Tensor] = set()
    all_of_model = set(model.parameters())
    for one in [rest] if isinstance(rest, nn.Module | Tensor) else rest:
        if not isinstance(one, nn.Module | Tensor):
            raise TypeError(f"rest has {one!r}: give modules or parameters, as in [model.head]")
        own = set(one.parameters()) if isinstance(one, nn.Module) else {one}
        if not own <= all_of_model:
            what = type(one).__name__ if isinstance(one, nn.Module) else "tensor"
            raise ValueError(f"rest has a {what} that is no part of the model")
        found |= own
    return found


def check_group(group: Mapping[str, Any]) -> None:
    """ValueError for a setting out of its range, or a parameter that cannot be trained."""
    for name in OF_ALL_GROUPS:
        if name in group:
            raise ValueError(f"{name} is the same for all param groups: give it to BackProjection")
    for name, (allowed, words) in NUMBERS.items():
        if not allowed(_number(group[name])):
            raise ValueError(f"{name}={group[name]}: give a number {words}")
    betas = group["betas"]
    is_pair = isinstance(betas, tuple | list) and len(betas) == 2
    if not is_pair or not all(0 <= _number(beta) < 1 for beta in betas):
        raise ValueError(f"betas={betas}: give two numbers in [0, 1)")
    for parameter in group["params"]:
        check_parameter(parameter)


def _number(value: Any) -> float:
    """NaN for what is no number."""
    return float(value) if isinstance(value, SupportsFloat) else math.nan


def check_parameter(parameter: Tensor) -> None:
    if parameter.is_complex():
        raise ValueError("complex parameters have no layer problem here: view them as real")
    if nn.parameter.is_lazy(parameter) or parameter.numel() == 0:
        return
    layouts = [torch.contiguous_format]
    layouts += {4: [torch.channels_last], 5: [torch.channels_last_3d]}.get(parameter.ndim, [])
    if not any(parameter.is_contiguous(memory_format=layout) for layout in layouts):
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} is not contiguous: make it "
            "nn.Parameter(tensor.contiguous())"
        )
