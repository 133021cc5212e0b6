"""What a trace of torch's profiler says of phases, layers and operators."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from torch.autograd import DeviceType

from new_algorithm.profiling.profile import GIGA, MEGABYTE, MS, Layer, Phase
from new_algorithm.profiling.torch_products import products_of
from new_algorithm.record.files import Row

MICROSECOND = 1e-6
LAYER = "layer: "  # begins the names of ranges that are modules
FORWARD, BACKWARD, REST = "forward", "backward", "loss, batches, the rest"
MARKS = {
    LAYER: FORWARD,
    "autograd::engine::evaluate_function": BACKWARD,
    "Optimizer.step#": "optimizer's step",
    "Optimizer.zero_grad#": "gradients cleared",
}
MODULES = "modules, in Python"  # their ranges, outside of operators


class Found:
    """Sums over the traces that are added, times multiplied by `scale`.

    An operator's time is its own, without the operators that it calls: the processor's, or on a
    graphics card that of its kernels. So phases add up to all that operators took.
    """

    def __init__(self, on_card: bool, scale: float = 1.0) -> None:
        self.phases: dict[str, Phase] = {}
        self.layers: dict[str, Layer] = {}
        self.peak_bytes, self.scale = 0, scale
        self._operators: dict[str, Row] = {}
        self._on_card = on_card

    def add(self, events: Sequence[Any]) -> None:
        """Take in a trace of times."""
        events = _of_operators(events)
        layer_of = {
            event.sequence_nr: layer
            for event in events
            if event.sequence_nr >= 0 and (layer := _layer(event)) is not None
        }
        for event in events:
            phase_name, marked = _phase(event)
            layer = _layer(event)
            if phase_name == BACKWARD:
                layer = layer_of.get(marked.sequence_nr)
            self._count(event, phase_name, layer, is_mark=event is marked)

    def add_memory(self, events: Sequence[Any], memory: Iterable[tuple[float, int]]) -> None:
        """Take in a trace of memory: when, in microseconds, how many bytes came or went."""
        events = _of_operators(events)
        for event in events:
            own = event.self_device_memory_usage if self._on_card else event.self_cpu_memory_usage
            self._row(event)["memory_mb"] += own / MEGABYTE
        self._follow(events, memory)

    def _count(self, event: Any, phase_name: str, layer_name: str | None, is_mark: bool) -> None:
        own = event.self_device_time_total if self._on_card else event.self_cpu_time_total
        seconds = own * MICROSECOND * self.scale
        found = products_of(event.name, event.input_shapes, event.concrete_inputs)
        flops = found.flops if found else 0
        phase = self.phases.setdefault(phase_name, Phase(phase_name))
        phase.calls += is_mark
        phase.seconds += seconds
        phase.flops += flops
        if layer_name is not None:
            layer = self.layers.setdefault(layer_name, Layer(layer_name))
            layer.seconds[phase_name] = layer.seconds.get(phase_name, 0.0) + seconds
            layer.flops += flops
            if found and phase_name == FORWARD:
                layer.shape = max(layer.shape, found.shape, key=lambda shape: sum(shape))
        row = self._row(event)
        row["calls"] += 1
        row["ms"] += MS * seconds
        row["gflop"] += flops / GIGA

    def _row(self, event: Any) -> Row:
        name = MODULES if event.name.startswith(LAYER) else event.name
        empty = {"operator": name, "calls": 0.0, "ms": 0.0, "memory_mb": 0.0, "gflop": 0.0}
        return self._operators.setdefault(name, empty)

    def _follow(self, events: Sequence[Any], memory: Iterable[tuple[float, int]]) -> None:
        """Let each phase know the most memory in use, above that at the start of the trace."""
        roots = sorted(
            (event for event in events if event.cpu_parent is None),
            key=lambda event: event.time_range.start,
        )
        starts, in_use = [event.time_range.start for event in roots], 0
        for when, size in sorted(memory):
            in_use += size
            self.peak_bytes = max(self.peak_bytes, in_use)
            place = bisect_right(starts, when) - 1
            if place >= 0:
                name = _phase(roots[place])[0]
                phase = self.phases.setdefault(name, Phase(name))
                phase.peak_bytes = max(phase.peak_bytes, in_use)

    def operators(self, steps: int, memory_steps: int) -> list[Row]:
        """Return a row an operator, the longest first, per step of the traces of times and of
        memory, where there are any of that."""
        per = {"calls": steps, "ms": steps, "gflop": steps}
        per |= {"memory_mb": memory_steps} if memory_steps else {}
        rows = sorted(self._operators.values(), key=lambda row: -row["ms"])
        total = sum(row["ms"] for row in rows) or 1.0
        return [
            {"operator": row["operator"]}
            | {name: row[name] / count for name, count in per.items()}
            | {"share": row["ms"] / total}
            for row in rows
        ]


def _of_operators(events: Sequence[Any]) -> list[Any]:
    events = [event for event in events if event.device_type == DeviceType.CPU]
    return [event for event in events if event.name != "[memory]"]


def _phase(event: Any) -> tuple[str, Any]:
    """Return the phase that an operator is in, and the range that marks it."""
    inside = event
    while inside is not None:
        for mark, phase in MARKS.items():
            if inside.name.startswith(mark):
                return phase, inside
        inside = inside.cpu_parent
    return REST, None


def _layer(event: Any) -> str | None:
    """Return the innermost module that an operator of the forward pass is in."""
    _, marked = _phase(event)
    if marked is None or not marked.name.startswith(LAYER):
        return None
    return marked.name.removeprefix(LAYER)
