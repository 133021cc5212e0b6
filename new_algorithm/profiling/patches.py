"""Functions and methods replaced for a while, wherever their names are bound."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def replaced(places: dict[str, Wrap]) -> Iterator[None]:
    """Replace what each place, "module:name" or "module:object.name", holds by what wraps it.

    A function is replaced in all loaded modules that have it under that name. Of modules that are
    not loaded nothing is replaced.
    """
    undo: list[tuple[Any, str, Any]] = []
    try:
        for place, wrap in places.items():
            for owner, name, value in list(_found(place)):
                undo.append((owner, name, value))
                _set(owner, name, wrap(value))
        yield
    finally:
        for owner, name, value in reversed(undo):
            _set(owner, name, value)


def _found(place: str) -> Iterator[tuple[Any, str, Any]]:
    module_name, _, path = place.partition(":")
    module = sys.modules.get(module_name)
    if module is None:
        return
    *owner, name = path.split(".")
    if owner:
        holder = getattr(module, owner[0])
        yield holder, name, vars(holder)[name]
        return
    function = getattr(module, name)
    for other in list(sys.modules.values()):
        if isinstance(other, ModuleType) and vars(other).get(name) is function:
            yield other, name, function


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, type | ModuleType):
        setattr(owner, name, value)
    else:  # a frozen object
        object.__setattr__(owner, name, value)
