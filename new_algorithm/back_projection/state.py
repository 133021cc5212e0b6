"""What an object remembers, as arrays by name: for checkpoints that lose no bit.

Numbers become arrays without a dimension, and None is left out. The names of what an attribute
holds, where it is a tuple, a list, or has a state of its own, follow a slash: "_average/_sum",
"_of_g/0", "_solvers/1/_iteration".
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray]


class Stateful:
    """Has a state: its attributes `remembered`, or all fields of a dataclass."""

    remembered: ClassVar[tuple[str, ...]] = ()

    def state_dict(self) -> State:
        """Return copies of all that later calls depend on."""
        return state_of(vars(self), self._names())

    def load_state_dict(self, state: State) -> None:
        """Continue where another object with the same settings was, to the bit."""
        for name in self._names():
            setattr(self, name, restored(getattr(self, name), name, state))

    def _names(self) -> Sequence[str]:
        return [one.name for one in fields(self)] if is_dataclass(self) else self.remembered


def state_of(values: dict[str, Any], names: Sequence[str]) -> State:
    """Return copies of what `values` holds under `names`."""
    state: State = {}
    for name in names:
        value = values[name]
        if hasattr(value, "state_dict"):
            state |= nested(name, value.state_dict())
        elif isinstance(value, (tuple, list)):
            items = {str(place): item for place, item in enumerate(value)}
            state |= nested(name, state_of(items, list(items)))
        elif value is not None:
            state[name] = np.array(value)
    return state


def restored(current: Any, name: str, state: State) -> Any:
    """Return what `state_of` found under `name`, None where it found nothing.

    An object that has a state of its own, `current` or an item of it, is kept, and loads that.
    ValueError where something else stands in the state for a number, or nothing for a count.
    """
    value, parts = state.get(name), part(name, state)
    if isinstance(current, int | float):
        _check_number(value, name, is_count=isinstance(current, int))
    if hasattr(current, "load_state_dict"):
        current.load_state_dict(parts)
        return current
    if isinstance(current, list):
        return [restored(item, str(place), parts) for place, item in enumerate(current)]
    if parts:
        return tuple(restored(None, str(place), parts) for place in range(len(parts)))
    if value is None:
        return None
    return value.copy() if value.ndim else value.item()


def _check_number(value: NDArray | None, name: str, is_count: bool) -> None:
    kinds = "iu" if is_count else "iuf"
    if value is None and is_count:  # what is no count may have been None
        raise ValueError(f"{name} is missing")
    if value is not None and (value.ndim or value.dtype.kind not in kinds):
        raise ValueError(f"{name} is not a number")


def nested(name: str, state: State) -> State:
    """Return the state with `name/` before each of its names."""
    return {f"{name}/{key}": value for key, value in state.items()}


def part(name: str, state: State) -> State:
    """Return what lies below `name/`."""
    below = f"{name}/"
    return {key.removeprefix(below): state[key] for key in state if key.startswith(below)}
