"""The profile of a training in PyTorch, by torch's own profiler; nothing in the loop is changed.

A step is one of an optimizer: torch calls a hook after each. Hooks on all modules name the layers.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.nn.modules import module as every_module
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile, record_function

from new_algorithm.profiling.profile import Phase, Profile
from new_algorithm.profiling.torch_events import LAYER, Found
from new_algorithm.profiling.windows import BLOCK, TRIAL, Kind, Taken, Windows

IDLE = "Python between operators"
MOST_EVENTS = 200_000  # of a block: to read so many takes half a minute


class TorchProfiler:
    """Traces while the windows are open; the traces are read once the training is over.

    Memory has traces of its own: what records shapes keeps tensors of torch.func alive meanwhile.
    """

    rounds, block = 1, BLOCK  # a trace of 20 steps takes seconds to read

    def __init__(self, device: str) -> None:
        self.on_card = torch.device(device).type == "cuda"
        self.device = torch.device(device)
        self._trace: Any = None
        self._traces: dict[Kind, list[Any]] = {"profiled": [], "memory": []}
        self._trial_events = 0
        self._names: dict[int, str] = {}
        self._open: list[tuple[torch.nn.Module, Any]] = []
        self._hooks = ExitStack()
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self.on_card
        self._new_trace = partial(profile, activities=activities)
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the tracer tells of every start
        with self._new_trace():  # the first takes longer
            pass

    def start(self, kind: Kind) -> None:
        self._wait()
        before = every_module.register_module_forward_pre_hook(self._enter)
        after = every_module.register_module_forward_hook(self._leave, always_call=True)
        for hook in (before, after):
            self._hooks.callback(hook.remove)
        shapes = kind != "memory"
        self._trace = self._new_trace(
            record_shapes=shapes, with_flops=shapes, profile_memory=not shapes
        )
        self._trace.__enter__()

    def stop(self, kind: Kind) -> None:
        self._wait()
        self._hooks.close()
        while self._open:
            self._open.pop()[1].__exit__(None, None, None)
        self._trace.__exit__(None, None, None)
        if kind != "trial":
            self._traces[kind].append(self._trace)
            return
        self._trial_events += len(self._trace.profiler.kineto_results.events())
        steps = MOST_EVENTS * TRIAL // max(1, self._trial_events)
        self.block = min(BLOCK, max(2, steps - steps % 2))

    @contextmanager
    def watching(self, windows: Windows) -> Iterator[None]:
        """Let steps of any optimizer be counted: one that has made a step is wrapped."""
        wrapped: dict[int, torch.optim.Optimizer] = {}

        def made_a_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            if id(optimizer) not in wrapped:
                wrapped[id(optimizer)] = optimizer
                undo.callback(_put_back, optimizer, vars(optimizer).get("step"))
                optimizer.step = windows.ending(optimizer.step)  # type: ignore[method-assign]

        with ExitStack() as undo:
            hook = register_optimizer_step_post_hook(made_a_step)
            undo.callback(hook.remove)
            yield

    def _enter(self, module: torch.nn.Module, _: Any) -> None:
        if not self._open and id(module) not in self._names:
            for name, one in module.named_modules():
                self._names[id(one)] = f"{name} {type(one).__name__}".strip()
        name = self._names.get(id(module), type(module).__name__)
        marked = record_function(LAYER + name)
        marked.__enter__()
        self._open.append((module, marked))

    def _leave(self, module: torch.nn.Module, *_: Any) -> None:
        if self._open and self._open[-1][0] is module:
            self._open.pop()[1].__exit__(None, None, None)

    def _wait(self) -> None:
        if self.on_card:
            torch.cuda.synchronize(self.device)

    def _memory(self, trace: Any) -> Iterator[tuple[float, int]]:
        """Yield when, in microseconds of the trace, how many bytes were taken or given back."""
        trace = trace.profiler.kineto_results
        kind = DeviceType.CUDA if self.on_card else DeviceType.CPU
        for event in trace.events():
            if event.name() == "[memory]" and event.device_type() == kind:
                yield (event.start_ns() - trace.trace_start_ns()) / 1e3, event.nbytes()

    def profile(self, windows: Windows) -> Profile:
        """Return what was found; what no operator accounts for of the steps is Python's own.

        Traces have wall time alone. Where the process had to wait for others, it is scaled to the
        CPU time of the steps, as if all operators had waited alike.
        """
        began, taken = time.process_time(), windows.taken.get("profiled", Taken())
        found = Found(self.on_card, 1.0 if self.on_card else taken.cpu_share)
        for trace in self._traces["profiled"]:
            found.add(trace.events())
        for trace in self._traces["memory"]:
            found.add_memory(trace.events(), self._memory(trace))
        windows.between += time.process_time() - began
        phases = list(found.phases.values())
        idle = taken.wall_seconds * found.scale - sum(phase.seconds for phase in phases)
        phases.append(Phase(IDLE, seconds=max(0.0, idle)))
        return Profile(
            windows.taken,
            windows.between,
            phases,
            [layer for layer in found.layers.values() if layer.seconds],
            peak_bytes=found.peak_bytes,
            multiply=self._multiply,
            clock=self._clock if self.on_card else time.process_time,
            operators=found.operators(taken.steps, windows.taken.get("memory", Taken()).steps),
        )

    def _multiply(self, n: int, k: int, m: int) -> Callable[[], object]:
        random = torch.Generator().manual_seed(0)
        a = torch.randn(n, k, generator=random).to(self.device)
        b = torch.randn(k, m, generator=random).to(self.device)
        out = torch.empty(n, m, device=self.device)
        return lambda: torch.matmul(a, b, out=out)

    def _clock(self) -> float:
        self._wait()
        return time.perf_counter()


def _put_back(optimizer: torch.optim.Optimizer, step: Any) -> None:
    if step is None:
        del optimizer.step  # type: ignore[misc]  # the class's own is there again
    else:
        optimizer.step = step  # type: ignore[method-assign]
