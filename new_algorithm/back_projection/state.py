"""What an object remembers, as arrays by name: for checkpoints that lose no bit.

Numbers become arrays without a dimension, None is left out, and the names of an attribute that
has a `state_dict` of its own, or is a tuple of arrays, follow a slash: "average/sum", "of_g/0".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray]


def state_of(owner: Any, names: tuple[str, ...]) -> State:
    """Return copies of the attributes `names` of `owner`."""
    state: State = {}
    for name in names:
        value = getattr(owner, name)
        if hasattr(value, "state_dict"):
            state |= nested(name, value.state_dict())
        elif isinstance(value, tuple):
            state |= nested(name, {str(i): np.array(item) for i, item in enumerate(value)})
        elif value is not None:
            state[name] = np.array(value)
    return state


def restore(owner: Any, names: tuple[str, ...], state: State) -> None:
    """Set the attributes `names` of `owner` to what `state_of` found; what is left out to None."""
    for name in names:
        value, parts = state.get(name), part(name, state)
        current = getattr(owner, name)
        if hasattr(current, "load_state_dict"):
            current.load_state_dict(parts)
        elif parts:
            setattr(owner, name, tuple(parts[str(i)].copy() for i in range(len(parts))))
        elif value is None:
            setattr(owner, name, None)
        else:
            setattr(owner, name, value.copy() if value.ndim else value.item())


def nested(name: str, state: State) -> State:
    """Return the state with `name/` before each of its names."""
    return {f"{name}/{key}": value for key, value in state.items()}


def part(name: str, state: State) -> State:
    """Return what lies below `name/`."""
    return {
        key.removeprefix(f"{name}/"): value
        for key, value in state.items()
        if key.startswith(f"{name}/")
    }
