"""The profile of a training by back projection in NumPy: phases, layers, memory, products."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from new_algorithm.profiling import sweep_parts
from new_algorithm.profiling.patches import Wrap, replaced
from new_algorithm.profiling.products import product
from new_algorithm.profiling.profile import Layer, Phase, Profile
from new_algorithm.profiling.spans import Part, Spans
from new_algorithm.profiling.sweep_parts import FORWARD, Layers, PartOf, Watched
from new_algorithm.profiling.windows import BLOCK, Kind, Windows

LOOP = "the loop, and the rest"


class SweepProfiler:
    """Times the parts of back projection while the windows are open.

    shapes: n, d and m of each layer's product H̃ W̃. dtype: of the weights.
    """

    rounds, block = 3, BLOCK

    def __init__(self) -> None:
        self.spans, self.layers = Spans((LOOP, None)), Layers()
        self.shapes: dict[int, tuple[int, int, int]] = {}
        self.dtype = np.dtype(np.float32)

    def start(self, kind: Kind) -> None:
        if kind != "trial":
            self.spans.start("memory" if kind == "memory" else "time")

    def stop(self, kind: Kind) -> None:
        if kind != "trial":
            self.spans.stop()

    @contextmanager
    def watching(self, windows: Windows) -> Iterator[None]:
        """Replace what is timed inside, and let steps be counted."""
        with replaced(self._places(windows)):
            yield

    def _places(self, windows: Windows) -> dict[str, Wrap]:
        method = sweep_parts.METHOD
        places: dict[str, Wrap] = {
            place: self._timing(part) for place, part in sweep_parts.parts().items()
        }
        streams = {p: self._waiting(phase) for p, phase in sweep_parts.STREAMS.items()}
        places |= streams
        places[f"{method}.network:Workspace.forward"] = self._forward(1)
        places[f"{method}.network:forward"] = self._forward(0)
        sweep = f"{method}.sweep:Sweep.__call__"
        places[sweep] = _both(places[sweep], self._learning)
        for place in sweep_parts.STEPS:
            places[place] = _both(places[place], windows.ending)
        return places

    def _timing(self, part: PartOf) -> Wrap:
        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(function)
            def timed(*args: Any, **kwargs: Any) -> Any:
                spans = self.spans
                if spans.measured is None:
                    return function(*args, **kwargs)
                subject = None if part.subject is None else self.layers.of(args[part.subject])
                entered = spans.enter((part.phase, subject))
                try:
                    result = function(*args, **kwargs)
                finally:
                    spans.leave()
                if spans.measured == "time":
                    entered.flops += part.flops(result, *args, **kwargs)
                return result

            return timed

        return wrap

    def _waiting(self, phase: str) -> Wrap:
        def wrap(generator: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            @wraps(generator)
            def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
                items = generator(*args, **kwargs)
                while True:
                    measured = self.spans.measured is not None
                    if measured:
                        self.spans.enter((phase, None))
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                    finally:
                        if measured:
                            self.spans.leave()
                    yield item

            return timed

        return wrap

    def _learning(self, sweep: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(sweep)
        def learning(*args: Any, **kwargs: Any) -> Any:
            self.layers.learn(args[0]._solvers)
            self.layers.learn(args[1])
            return sweep(*args, **kwargs)

        return learning

    def _forward(self, place: int) -> Wrap:
        """Time a forward pass layer by layer; `place` is that of the weights among arguments."""

        def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(forward)
            def timed(*args: Any) -> Any:
                spans, weights = self.spans, args[place]
                inside: list[Part] = []
                if spans.measured is None:
                    return forward(*args)
                self.layers.learn(weights)

                def asked(layer: int) -> None:
                    if inside:
                        spans.leave()
                    inside.append(spans.enter((FORWARD, layer)))

                given = [*args[:place], Watched(weights, asked), *args[place + 1 :]]
                try:
                    result = forward(*given)
                finally:
                    if inside:
                        spans.leave()
                rows = len(result[-1] if isinstance(result, tuple) else result)
                for layer, (weight, part) in enumerate(zip(weights, inside, strict=True), 1):
                    if spans.measured == "time":
                        part.flops += product(rows, *weight.shape)
                    self.shapes[layer], self.dtype = (rows, *weight.shape), weight.dtype
                return result

            return timed

        return wrap

    def profile(self, windows: Windows) -> Profile:
        """Return what was found, phases and layers summed over each other."""
        phases: dict[str, Phase] = {}
        layers: dict[int, Layer] = {}
        for (name, number), part in self.spans.parts.items():
            phase = phases.setdefault(name, Phase(name))
            phase.calls += part.calls
            phase.seconds += part.seconds
            phase.flops += part.flops
            phase.peak_bytes = max(phase.peak_bytes, part.peak_bytes)
            if number is not None:
                shape = self.shapes.get(number, (0, 0, 0))
                layer = layers.setdefault(number, Layer(f"layer {number}", shape))
                layer.seconds[name] = layer.seconds.get(name, 0.0) + part.seconds
                layer.flops += part.flops
        return Profile(
            windows.taken,
            windows.between,
            list(phases.values()),
            [layers[number] for number in sorted(layers)],
            peak_bytes=max(phase.peak_bytes for phase in phases.values()),
            multiply=self._multiply,
        )

    def _multiply(self, n: int, k: int, m: int) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(shape).astype(self.dtype) for shape in ((n, k), (k, m)))
        out = np.empty((n, m), self.dtype)
        return lambda: np.matmul(a, b, out=out)


def _both(inner: Wrap, outer: Wrap) -> Wrap:
    return lambda function: outer(inner(function))
