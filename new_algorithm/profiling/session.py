"""`--profile`: a training inside `profiled` is profiled over some steps, and tables are left."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from new_algorithm.profiling.windows import Windows
    from new_algorithm.record.run import Run

Kind = Literal["NumPy", "PyTorch"]
SHOWN = 12  # rows of a printed table; the file has all


@contextmanager
def profiled(wanted: bool, kind: Kind, run: "Run | None", device: str = "cpu") -> Iterator[None]:
    """Profile what is trained inside, by a clock that runs in it, and record it in `run`.

    Nothing happens unless it is wanted and there is a run. Numbers of the training stay the same;
    a training that fails leaves no profile.
    """
    if not wanted or run is None:
        yield
        return
    from new_algorithm.profiling.windows import Windows

    profiler: Any
    if kind == "NumPy":
        from new_algorithm.profiling.sweep_profile import SweepProfiler

        profiler = SweepProfiler()
    else:
        from new_algorithm.profiling.torch_profile import TorchProfiler

        profiler = TorchProfiler(device)
    with ExitStack() as stack:
        windows = Windows(profiler, stack.close)
        stack.enter_context(profiler.watching(windows))
        stack.enter_context(by_the_clock(windows))
        yield
    report(profiler, windows, run)


@contextmanager
def by_the_clock(windows: "Windows") -> Iterator[None]:
    """Open the windows while a training clock runs, and only then: the first that runs, since
    another one is of another training, whose steps are not comparable."""
    from new_algorithm.profiling.patches import Wrap, replaced

    first: list[Any] = []

    def starting(enter: Any) -> Any:
        def entered(clock: Any) -> Any:
            found = enter(clock)
            if not first:
                first.append(clock)
            if clock is first[0]:
                windows.resume()
            return found

        return entered

    def stopping(leave: Any) -> Any:
        def left(clock: Any, *error: object) -> Any:
            if first and clock is first[0]:
                windows.pause()
            return leave(clock, *error)

        return left

    clock = "new_algorithm.record.clock:TrainingClock"
    places: dict[str, Wrap] = {f"{clock}.__enter__": starting, f"{clock}.__exit__": stopping}
    with replaced(places):
        yield


def report(profiler: Any, windows: "Windows", run: "Run") -> None:
    """Leave the tables, printed too; a run of too few steps is told so."""
    from new_algorithm.profiling import profile as tables
    from new_algorithm.profiling.windows import WARM_UP

    found = profiler.profile(windows)
    if not found.steps:
        print(
            f"Profile: none, {windows.steps} steps are too few: the first {WARM_UP} are to warm up"
        )
        return
    rate = tables.product_rate(found, tables.LARGE)
    run.table("profile", tables.summary_rows(found, rate), "Profile, per step:")
    run.table("profile_phases", tables.phase_rows(found), "Phases, per step:", shown=SHOWN)
    if layers := tables.layer_rows(found, rate):
        run.table("profile_layers", layers, "Layers, per step:", shown=SHOWN)
    if found.operators:
        run.table("profile_operators", found.operators, "Operators, per step:", shown=SHOWN)
    print(f"\n{tables.told(found)}", flush=True)
