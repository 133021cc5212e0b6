"""What a profile found, and the tables of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from new_algorithm.profiling.products import product
from new_algorithm.profiling.windows import Kind, Taken
from new_algorithm.record.files import Row

MEGABYTE, GIGA, MS = 1e6, 1e9, 1e3
LARGE = (1024, 1024, 1024)  # the product by which the machine's rate is known
MOST_ROWS = 8_192  # of a product whose rate is measured; more are as quick
MEASURED_LAYERS = 12
MEASURED_SECONDS = 0.05  # of each product, of which the quickest counts

SHARED = 1.5  # wall over CPU time of a step

Multiply = Callable[[int, int, int], Callable[[], object]]  # n, k, m: (n, k) times (k, m)


@dataclass
class Phase:
    """seconds: outside of the phases inside of it. flops: of its products. peak_bytes: see Part."""

    name: str
    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    peak_bytes: int = 0


@dataclass
class Layer:
    """shape: n, d and m of its product (n, d) (d, m), zeros where it has none. seconds: by phase.
    flops: of all its products."""

    name: str
    shape: tuple[int, int, int] = (0, 0, 0)
    seconds: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0


@dataclass
class Profile:
    """taken: steps and their seconds by kind. reading_seconds: of the processor, to start, stop
    and read.

    operators: rows of a table, PyTorch's. peak_bytes: in use during the steps, above those before.
    multiply: makes a product of the kind that the training has. clock: by which rates are known,
    that of the process, or of the wall where a graphics card computes.
    """

    taken: dict[Kind, Taken]
    reading_seconds: float
    phases: list[Phase]
    layers: list[Layer]
    peak_bytes: int
    multiply: Multiply
    clock: Callable[[], float] = time.process_time
    operators: list[Row] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return self.taken.get("profiled", Taken()).steps

    @property
    def has_memory(self) -> bool:
        """Whether the run was long enough for steps in which memory was traced."""
        return bool(self.taken.get("memory", Taken()).steps)

    @property
    def cost(self) -> float | None:
        """CPU seconds of a step with the profile over those without it, less 1; None where the run
        was over before there was one of each."""
        with_it, without = (self.taken.get(kind, Taken()) for kind in ("profiled", "plain"))
        if not (with_it.steps and without.steps and without.cpu_seconds):
            return None
        a_step = with_it.cpu_seconds / with_it.steps
        return a_step / (without.cpu_seconds / without.steps) - 1


def product_rate(profile: Profile, shape: tuple[int, int, int]) -> float:
    """Return the highest rate, in FLOP/s, of products of this shape one after the other."""
    shape = min(shape[0], MOST_ROWS), *shape[1:]
    once, clock, quickest = profile.multiply(*shape), profile.clock, float("inf")
    once()
    until = clock() + MEASURED_SECONDS
    while (began := clock()) < until:
        once()
        quickest = min(quickest, clock() - began or quickest)
    return product(*shape) / quickest


def phase_rows(profile: Profile) -> list[Row]:
    """Return a row a phase, the longest first; the milliseconds add up to those of a step."""
    total, steps = sum(phase.seconds for phase in profile.phases), profile.steps
    return [
        {
            "phase": phase.name,
            "calls": phase.calls / steps,
            "ms": MS * phase.seconds / steps,
            "share": phase.seconds / total if total else 0.0,
            **({"peak_memory_mb": phase.peak_bytes / MEGABYTE} if profile.has_memory else {}),
            "gflop": phase.flops / steps / GIGA,
            "gflops": phase.flops / phase.seconds / GIGA if phase.seconds else 0.0,
        }
        for phase in sorted(profile.phases, key=lambda phase: -phase.seconds)
    ]


def layer_rows(profile: Profile, rate: float) -> list[Row]:
    """Return a row a layer, in their order, or the longest first where there are many.

    rate: the machine's, in FLOP/s. Of products like theirs it is measured for MEASURED_LAYERS.
    """
    longest = sorted(profile.layers, key=lambda layer: -sum(layer.seconds.values()))
    measured = longest[:MEASURED_LAYERS]
    layers = profile.layers if len(measured) == len(longest) else longest
    names = dict.fromkeys(name for layer in profile.layers for name in layer.seconds)
    rates = {shape: 0.0 for layer in measured if all(shape := layer.shape)}
    for shape in rates:
        rates[shape] = product_rate(profile, shape)
    rows = []
    for layer in layers:
        like = " × ".join(map(str, layer.shape)) if any(layer.shape) else ""
        seconds = sum(layer.seconds.values())
        achieved = layer.flops / seconds if seconds else 0.0
        in_ms = {name: MS * layer.seconds.get(name, 0.0) / profile.steps for name in names}
        rows.append(
            {"layer": layer.name, "product": like}
            | {f"{name} ms": ms for name, ms in in_ms.items()}
            | {
                "all_ms": MS * seconds / profile.steps,
                "gflop": layer.flops / profile.steps / GIGA,
                "gflops": achieved / GIGA,
                "machine_gflops": rates.get(layer.shape, 0.0) / GIGA,
                "share_of_rate": achieved / rate,
            }
        )
    return rows


def summary_rows(profile: Profile, rate: float) -> list[Row]:
    """Return the whole: time with the profile and without it, products, memory."""
    phases, taken = profile.phases, profile.taken
    plain = taken.get("plain", Taken())
    with_it = taken["profiled"]
    measured = plain if plain.steps else with_it
    flops = sum(phase.flops for phase in phases) / profile.steps
    of_cpu = profile.clock is time.process_time
    seconds = measured.cpu_seconds if of_cpu else measured.wall_seconds
    achieved = flops * measured.steps / seconds if seconds else 0.0  # of a coarse clock
    rows: list[tuple[str, float | None, str]] = [
        ("steps profiled", float(profile.steps), ""),
        ("a step, profiled", MS * with_it.wall_seconds / with_it.steps, "ms"),
        ("a step, profiled", MS * with_it.cpu_seconds / with_it.steps, "CPU ms"),
    ]
    if plain.steps:
        rows += [
            ("a step beside them", MS * plain.wall_seconds / plain.steps, "ms"),
            ("a step beside them", MS * plain.cpu_seconds / plain.steps, "CPU ms"),
            ("cost of the profile, of a step's CPU time", profile.cost, "fraction"),
        ]
    rows += [
        ("starting, stopping and reading it", profile.reading_seconds, "CPU s"),
        ("products of a step", flops / GIGA, "GFLOP"),
        ("products, achieved in all of a step", achieved / GIGA, "GFLOP/s"),
        ("product of 1024 × 1024 matrices", rate / GIGA, "GFLOP/s"),
        ("achieved, of that rate", achieved / rate, "fraction"),
    ]
    if profile.has_memory:
        rows.append(
            ("peak memory of a step, above that before", profile.peak_bytes / MEGABYTE, "MB")
        )
    return [{"quantity": name, "value": value, "unit": unit} for name, value, unit in rows]


def told(profile: Profile) -> str:
    """Return the line that says what the profile cost, and whether the machine was shared."""
    taken, cost = profile.taken["profiled"], profile.cost
    of_it = f"Profile: {taken.steps} steps, {MS * taken.cpu_seconds / taken.steps:.3g} CPU ms each"
    if cost is None:
        return f"{of_it}; its cost is unknown, the run was too short to leave steps without it"
    plain = profile.taken["plain"]
    return (
        f"{of_it}, {MS * plain.cpu_seconds / plain.steps:.3g} in {plain.steps} steps beside them: "
        f"it costs {cost:+.0%}, and {profile.reading_seconds:.2g} CPU s to start, stop and read it"
        f"{_shared(taken)}"
    )


def _shared(taken: Taken) -> str:
    if taken.cpu_share > 1 / SHARED:
        return ""
    times = f"Steps took {1 / taken.cpu_share:.1f} times their CPU time"
    return f". {times}: the process had to wait, and other tables show CPU time"
