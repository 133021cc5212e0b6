"""What an optimizer remembers, saved and loaded to the bit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from new_algorithm.torch_optimizer.curvature import group_of
from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.rest import MOMENTS
from new_algorithm.torch_optimizer.stacks import OF_OUTPUTS, STATISTICS
from new_algorithm.torch_optimizer.statistics import wide_dtype

if TYPE_CHECKING:
    from new_algorithm.torch_optimizer.optimizer import BackProjection

OURS = "back_projection"  # an entry of the state_dict beside torch's own
PLACE = ("stack", "place")


def with_ours(optimizer: "BackProjection", state: dict[str, Any]) -> dict[str, Any]:
    """Return torch's state_dict with what belongs to no single parameter."""
    curvature = optimizer.curvature
    ours = {
        "outer": optimizer.outer,
        "lambda_h": curvature.lambda_h,
        "rows": curvature.watches.rows,
        "widest": curvature.watches.widest,
        "gram_every": curvature.gram_every,
        "factor_every": curvature.factor_every,
        "judge_every": optimizer.judge.every,
        "iteration": optimizer.iteration,
        "next_factoring": curvature.next_factoring,
        "damping": curvature.damping,
        "judge": optimizer.judge.state_dict(),
    }
    return state | {OURS: ours}


def without_ours(optimizer: "BackProjection", saved: dict[str, Any]) -> dict[str, Any]:
    """Return what torch loads, which would cast statistics to the type of their parameter.

    ValueError for what another optimizer, or one of another model, has saved.
    """
    if OURS not in saved:
        raise ValueError("this state_dict is not of a BackProjection optimizer")
    settings = {"outer": optimizer.outer, "lambda_h": optimizer.curvature.lambda_h}
    for name, own in settings.items():
        if (theirs := saved[OURS][name]) != own:
            raise ValueError(f"this state_dict is of {name}={theirs!r}, not {own!r}")
    _check_shapes(optimizer, saved)
    mine = {*STATISTICS, *OF_OUTPUTS, *optimizer.curvature.remembered, *PLACE, *MOMENTS}
    state = {
        key: {name: value for name, value in values.items() if name not in mine}
        for key, values in saved["state"].items()
    }
    return {"state": state, "param_groups": saved["param_groups"]}


def _check_shapes(optimizer: "BackProjection", saved: dict[str, Any]) -> None:
    """ValueError if any tensor is not of the shape that it has here."""
    found: list[tuple[str, Tensor, tuple[int, ...]]] = []
    for layer, values in _layers_in(optimizer, saved):
        blocks, (m, d) = layer.blocks, layer.shape
        found.append((f"Gram matrices of {layer.name}", values["gram"], (blocks, d, d)))
        found += [
            (f"{name} of {layer.name}", values[name], (blocks, m, d))
            for name in optimizer.curvature.remembered
        ]
    for parameter, values in _states_in(optimizer, saved):
        if "exp_avg" in values:
            of = f"exp_avg of {optimizer.name_of(parameter)}"
            found.append((of, values["exp_avg"], tuple(parameter.shape)))
    kept = saved[OURS]["judge"]["last_good"] or ()
    for parameter, good in zip(optimizer.parameters(), kept, strict=False):  # torch counts them
        found.append((optimizer.name_of(parameter), good, tuple(parameter.shape)))
    for of, tensor, expected in found:
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"this state_dict has {of} in the shape {tuple(tensor.shape)}, not {expected}: it "
                "is of another model"
            )


def restore(optimizer: "BackProjection", saved: dict[str, Any]) -> None:
    """Bring back the stacks, in the same order and grouping, AdamW's moments, and the numbers."""
    curvature = optimizer.curvature
    curvature.forget_stacks()
    stacks: dict[int, list[tuple[int, Layer, dict[str, Any]]]] = {}
    for layer, values in _layers_in(optimizer, saved):
        stacks.setdefault(values["stack"], []).append((values["place"], layer, values))
    for _, members in sorted(stacks.items()):
        members.sort(key=lambda member: member[0])
        layers = [layer for _, layer, _ in members]
        group = group_of(layers[0].weight, optimizer.param_groups)
        stack = curvature.begin_stack(layers, group)
        for place, (_, _, values) in enumerate(members):
            for name, tensor in stack.state_of(place).items():
                tensor.copy_(values[name])
        stack.is_factored = True
    for parameter, values in _states_in(optimizer, saved):
        for name in MOMENTS:
            if name in values:
                to = parameter.device, wide_dtype(parameter.dtype)
                optimizer.state[parameter][name] = values[name].to(*to, copy=True)
    ours = saved[OURS]
    curvature.watches.rows, curvature.watches.widest = ours["rows"], ours["widest"]
    curvature.gram_every, curvature.factor_every = ours["gram_every"], ours["factor_every"]
    curvature.next_factoring, curvature.damping = ours["next_factoring"], ours["damping"]
    optimizer.judge.every, optimizer.iteration = ours["judge_every"], ours["iteration"]
    optimizer.judge.load_state_dict(ours["judge"], optimizer.parameters())


def _layers_in(
    optimizer: "BackProjection", saved: dict[str, Any]
) -> list[tuple[Layer, dict[str, Any]]]:
    """Return the layers of the optimizer that a state_dict knows, with what it has of them."""
    known: list[tuple[Layer, dict[str, Any]]] = []
    for parameter, values in _states_in(optimizer, saved):
        if "stack" in values:
            if parameter not in optimizer.curvature.watches.layers:
                raise ValueError(
                    f"this state_dict has a layer where {optimizer.name_of(parameter)} is none: it "
                    "is of another model"
                )
            known.append((optimizer.curvature.watches.layers[parameter], values))
    return known


def _states_in(
    optimizer: "BackProjection", saved: dict[str, Any]
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Yield each parameter with what was saved of it."""
    keys = [key for group in saved["param_groups"] for key in group["params"]]
    parameters = list(optimizer.parameters())
    if len(parameters) == len(keys):  # if not, torch says so
        for key, parameter in zip(keys, parameters, strict=True):
            yield parameter, saved["state"].get(key, {})
