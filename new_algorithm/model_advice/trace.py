"""Which operations act on one batch, in which order and on whose results.

Modules are seen by hooks, functions by torch's function mode: what ran is what is seen, loops and
branches of the model's own code included, so that nothing needs to be traceable in symbols.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from new_algorithm.model_advice.kinds import kind_of_function, kind_of_module

TORCH = str(Path(torch.__file__).parent)


@dataclass
class Operation:
    """A module's call, or a function's outside of such modules.

    name: path of the module, or `path.function()` with that of the module whose code calls it.
    given: the tensors that it acts on, in order; made_by: for each of them the index of the
    operation that made it, None for a batch or a parameter. line: FILE:LINE of a function's call.
    result: what is returned.
    """

    name: str
    kind: str
    module: nn.Module | None
    given: list[Tensor]
    made_by: list[int | None]
    line: str = ""
    result: Any = None

    @property
    def place(self) -> str:
        if self.module is not None:
            return f"{self.name} ({type(self.module).__name__})".lstrip()
        return f"{self.name} at {self.line}"


@dataclass
class Trace:
    """The operations of one batch in their order; outputs: those that made what is returned."""

    operations: list[Operation] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def of_kind(self, *kinds: str) -> list[int]:
        return [i for i, one in enumerate(self.operations) if one.kind in kinds]

    def consumers(self, index: int) -> list[int]:
        return [i for i, one in enumerate(self.operations) if index in one.made_by]

    def source(self, index: int | None) -> Operation | None:
        """The operation at `index`, or the one behind it where that only changes the shape."""
        while index is not None and self.operations[index].kind == "shape":
            index = self.operations[index].made_by[0]
        return None if index is None else self.operations[index]

    def trunk(self) -> list[int]:
        """What everything passes through: operations that no result goes around."""
        around: set[int] = set()
        for i, one in enumerate(self.operations):
            starts = [made for made in one.made_by if made is not None]
            around.update(range(min(starts, default=i) + 1, i))
        return [i for i in range(len(self.operations)) if i not in around]

    def first_downstream(self, start: int, kinds: tuple[str, ...]) -> list[int]:
        """What follows `start` and is of one of the kinds, with none of them in between."""
        found, reached = [], {start}
        for i, one in enumerate(self.operations):
            if i > start and reached.intersection(made for made in one.made_by if made is not None):
                if one.kind in kinds:
                    found.append(i)
                else:
                    reached.add(i)
        return found


class _Recorder(TorchFunctionMode):
    """Writes a Trace while it is entered and the hooks of `watching` are on the model."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.prefix = ""  # of names of functions outside of modules
        self._maker: dict[int, int] = {}  # by id of a tensor: index of the operation that made it
        self._alive: list[Tensor] = []  # an id is unique only as long as its tensor lives
        self._path: list[str] = []  # modules whose own code runs, from the outside in
        self._open: list[int] = []  # modules that are one operation each, and inside of them

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._open:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        kind = kind_of_function(name, args, kwargs)
        place = f"{self._path[-1]}." if self._path and self._path[-1] else self.prefix
        index = self._begin(f"{place}{name.strip('_')}()", kind, None, [*args, *kwargs.values()])
        self.trace.operations[index].line = _line_outside_of_torch()
        result = func(*args, **kwargs)  # where a loss refuses its input, the operation stays
        made = args[0] if name == "__setitem__" else result
        if _tensors(made):
            self.made(index, made)
        else:
            del self.trace.operations[index:]  # a shape, a number: nothing to act on
        return result

    def enter_module(self, name: str, module: nn.Module, given: Any) -> None:
        kind = kind_of_module(module)
        if kind is None and not self._open:
            self._path.append(name)
        elif kind is not None:
            self._open.append(-1 if self._open else self._begin(name, kind, module, given))

    def leave_module(self, module: nn.Module, result: Any) -> None:
        if kind_of_module(module) is not None:
            index = self._open.pop()
            if index >= 0:
                self.made(index, result)
        elif not self._open:
            self._path.pop()

    def made(self, index: int, result: Any) -> None:
        self.trace.operations[index].result = result
        for tensor in _tensors(result):
            self._maker[id(tensor)] = index
            self._alive.append(tensor)

    def makers(self, result: Any) -> list[int]:
        return [self._maker[id(one)] for one in _tensors(result) if id(one) in self._maker]

    def _begin(self, name: str, kind: str, module: nn.Module | None, given: Any) -> int:
        tensors = _tensors(given)
        self._alive += tensors
        made_by = [self._maker.get(id(one)) for one in tensors]
        self.trace.operations.append(Operation(name, kind, module, tensors, made_by))
        return len(self.trace.operations) - 1


def run_traced(
    model: nn.Module, inputs: tuple, finish: Callable[[Any], Any] | None = None
) -> tuple[Trace, Any, Any, Exception | None]:
    """Call `model(*inputs)`, then `finish(output)`, and see what they do.

    Returns the trace, the output, what `finish` returns, and the error that ended it, if any:
    all up to there is in the trace.
    """
    recorder, output, finished = _Recorder(), None, None
    with watching(model, recorder), torch.enable_grad(), recorder:
        try:
            output = model(*inputs)
            recorder.trace.outputs = recorder.makers(output)
            recorder.prefix = "loss: "
            if finish is not None:
                finished = finish(output)
        except Exception as error:  # whatever the user's code may raise
            return recorder.trace, output, None, error
    return recorder.trace, output, finished, None


@contextmanager
def watching(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Inside, every module, but for torch.jit's, tells the recorder when it begins and ends."""
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue

        def before(module: nn.Module, args: tuple, kwargs: dict, name: str = name) -> None:
            recorder.enter_module(name, module, [*args, *kwargs.values()])

        def after(module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
            recorder.leave_module(module, result)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _line_outside_of_torch() -> str:
    """FILE:LINE of the code that calls a function of torch."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename.startswith(TORCH):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _tensors(nested: Any) -> list[Tensor]:
    return [one for one in tree_leaves(nested) if isinstance(one, Tensor)]
