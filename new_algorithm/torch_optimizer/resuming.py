"""What an optimizer remembers, saved and loaded to the bit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.stacks import STATISTICS

if TYPE_CHECKING:
    from new_algorithm.torch_optimizer.optimizer import BackProjection

OURS = "back_projection"  # an entry of the state_dict beside torch's own
NUMBERS = ("outer", "iteration", "next_factoring", "damping")
PLACE = ("stack", "place")


def with_ours(optimizer: "BackProjection", state: dict[str, Any]) -> dict[str, Any]:
    """Return torch's state_dict with what belongs to no single parameter."""
    ours = {name: getattr(optimizer, name) for name in NUMBERS}
    return state | {OURS: ours | {"judge": optimizer.judge.state_dict()}}


def without_ours(optimizer: "BackProjection", saved: dict[str, Any]) -> dict[str, Any]:
    """Return what torch loads, which would cast statistics to the type of their parameter.

    ValueError for what another optimizer, or one of another model, has saved.
    """
    if OURS not in saved:
        raise ValueError("this state_dict is not of a BackProjection optimizer")
    if (outer := saved[OURS]["outer"]) != optimizer.outer:
        raise ValueError(f"this state_dict is of outer={outer!r}, not {optimizer.outer!r}")
    _check_shapes(optimizer, saved)
    mine = {*STATISTICS, *optimizer.remembered, *PLACE}
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
            for name in optimizer.remembered
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
    """Bring back the stacks, in the same order and grouping, and the numbers."""
    optimizer.forget_stacks()
    stacks: dict[int, list[tuple[int, Layer, dict[str, Any]]]] = {}
    for layer, values in _layers_in(optimizer, saved):
        stacks.setdefault(values["stack"], []).append((values["place"], layer, values))
    for _, members in sorted(stacks.items()):
        members.sort(key=lambda member: member[0])
        stack = optimizer.begin_stack([layer for _, layer, _ in members])
        for place, (_, _, values) in enumerate(members):
            for name, tensor in stack.state_of(place).items():
                tensor.copy_(values[name])
        stack.is_factored = True
    for name in NUMBERS:
        setattr(optimizer, name, saved[OURS][name])
    optimizer.judge.load_state_dict(saved[OURS]["judge"], optimizer.parameters())


def _layers_in(
    optimizer: "BackProjection", saved: dict[str, Any]
) -> list[tuple[Layer, dict[str, Any]]]:
    """Return the layers of the optimizer that a state_dict knows, with what it has of them."""
    known: list[tuple[Layer, dict[str, Any]]] = []
    for parameter, values in _states_in(optimizer, saved):
        if "stack" in values:
            if parameter not in optimizer.watches.layers:
                raise ValueError(
                    f"this state_dict has a layer where {optimizer.name_of(parameter)} is none: it "
                    "is of another model"
                )
            known.append((optimizer.watches.layers[parameter], values))
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
