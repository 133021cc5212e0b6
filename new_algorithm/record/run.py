"""The record of one run: its numbers, where they come from, and how it ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.console import notice, tee_stdout
from new_algorithm.cli.endings import log_entry, outcome, reason
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import RunFlags
from new_algorithm.cli.ranks import require_joined
from new_algorithm.cli.signals import stopping_on_signals, unstoppable
from new_algorithm.cli.threads import thread_pools
from new_algorithm.record import checkpoint
from new_algorithm.record.advice.of_data import far_rows
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.ending import report
from new_algorithm.record.files import (
    RECORD_FILE,
    Row,
    format_table,
    remove_unfinished,
    save_csv,
    save_json,
    save_npz,
)
from new_algorithm.record.history import History, epoch_line, plain_row
from new_algorithm.record.layout import REPOSITORY, Layout
from new_algorithm.record.provenance import describe, peak_memory
from new_algorithm.record.reservation import Kind, Reservation, is_filled, reserve
from new_algorithm.record.resuming import resumable
from new_algorithm.record.snapshots import Weights, named, save_snapshot
from new_algorithm.record.tracking import Mirrors, check_packages
from new_algorithm.record.weights import WEIGHTS_FILE, is_best, keep_best

if TYPE_CHECKING:
    from new_algorithm.record.figures import Tables

MEGABYTE = 1e6


class Run:
    """The record of one run under its tag; `with Run.open(...) as run:` begins and ends it.

    folder: where it lies. checkpoint: where an earlier run goes on; None of a new one.
    earlier_epochs: of a finished run that goes on, how many it had.
    """

    def __init__(self, reservation: Reservation, layout: Layout, record: dict[str, Any]) -> None:
        self.tag, self.folder = reservation.tag, layout.record(reservation.tag)
        self.checkpoint: checkpoint.Checkpoint | None = None
        self.earlier_epochs: int | None = None
        self._has_process = False  # of its own
        self._reservation, self._layout, self._record = reservation, layout, record
        self._history = History(self.folder, record["loss_unit"])
        self._results: dict[str, Any] = {}
        self._mirrors = Mirrors((), record, layout)

    @classmethod
    @contextmanager
    def open(
        cls,
        *,
        script: Path,
        config: RunFlags,
        data: dict[str, Any],
        root: Path = REPOSITORY,
        resume: bool = False,
        keep: bool = False,
        kind: Kind = "run",
        tables: "Tables | None" = None,
        group: str | None = None,
    ) -> "Iterator[Run]":
        """Record a run inside.

        script: the file that runs; config: its flags; root: repository below which everything is
        written; data: the provenance of the data set. Of that, `held_out` names the held-out set,
        `num_classes` or `probabilities` make the loss one in nats, `chance_accuracy` is a finding's
        scale.
        resume: continue the record of that tag, from its `checkpoint`, if flags and data are the
        same. keep: leave the content of that tag's folder, for a script that continues by itself.
        kind: a record of one kind never replaces one of another. tables: what draws the tables that
        the script leaves, by file name. group: of runs that belong together, else Layout's; they
        lie in a folder of that name and have a note, but no line in the index, and their figures
        are left to plot_runs.py. Without a group a run has the process to itself, whose peak
        memory is a final metric.

        UserError if the tag is taken or in use, or the record cannot be written or resumed. Leaving
        the block writes status, figures, note and index, and lets exceptions pass. An earlier
        record that is overwritten is put back if this run fails before its first results.
        """
        require_joined(script.name)
        layout = Layout(root) if group is None else Layout(root, group)
        track = getattr(config, "track", ())
        check_packages(track)
        now = datetime.now().astimezone()
        begun = config.tag is not None and is_filled(layout.record(config.tag))
        kept = resume or (keep and begun and not config.overwrite)
        with ExitStack() as stack:
            with _writing(layout):
                place = config.tag, script.stem, config.overwrite, layout, now
                reserved = stack.enter_context(reserve(*place, resume=kept, kind=kind))
                log_path = layout.log(reserved.tag, now)
                log = stack.enter_context(tee_stdout(log_path))
                stack.enter_context(stopping_on_signals())
                unit = "nats" if data.get("num_classes") or data.get("probabilities") else None
                record = {
                    "tag": reserved.tag,
                    "kind": kind,
                    "status": "running",
                    "error": None,
                    "start": now.isoformat(timespec="seconds"),
                    "end": None,
                    "data": data,
                    "final_metrics": {},
                    "anomalies": [],
                    "lengthened_after": [],
                    "loss_unit": unit,
                    **describe(script, config, reserved.tag, layout),
                    "log": layout.relative(log_path) if log_path.exists() else None,
                }
                run = cls(reserved, layout, record)
                for folder in (run.folder, layout.figures(reserved.tag)):
                    remove_unfinished(folder)
                run._has_process = group is None and kind == "run"
                if resume:
                    run._go_on()
                run._mirrors = Mirrors(track, record, layout)
                run._mirrors.replay(run._history.columns())
                save_json(run.folder / RECORD_FILE, record)
            for text in () if resume else far_rows(data):
                run.anomaly(text)
            print(f"Run {run.tag}: record in {layout.relative(run.folder)}/", flush=True)
            try:
                yield run
            except BaseException as error:
                run._end(error, log, tables or {})
                raise
            run._end(None, log, tables or {})

    def record_epoch(
        self,
        epoch: int,
        *,
        train: Scores,
        held_out: Scores,
        layer_norms: ArrayLike,
        clock: TrainingClock,
        **extra: ArrayLike,
    ) -> None:
        """Save and print one epoch.

        train, held_out: on the training and the held-out set; the latter goes by the name that the
        data give it, test or validation. clock: the training time since the start of the run. The
        weights of an epoch are saved before it: those that did best on validation rows are kept.
        ValueError if an epoch records other names or another number of layers than the first;
        UserError if the files cannot be written.
        """
        held = self._record["data"].get("held_out", "test")
        numbers: dict[str, object] = {"epoch": epoch}
        for part, scores in (("train", train), (held, held_out)):
            named = {f"{part}_{name}": value for name, value in scores._asdict().items()}
            numbers |= {name: value for name, value in named.items() if value is not None}
        times = {"train_cpu_seconds": clock.cpu_seconds, "train_wall_seconds": clock.wall_seconds}
        row = plain_row({**numbers, "layer_norms": layer_norms, **times, **extra})
        with _writing(self._layout):
            self._history.append(row)
            best = self._history.row_of(self._results.get("best_epoch"))
            is_kept = is_best(row, best) and keep_best(self.folder)
            results = {"best_epoch": epoch} if is_kept else {}
            self._results |= results
            self._save(durable=False)
        self.supersede()
        self._mirrors.log(self._history.last() | results, epoch)
        print(epoch_line(row, held), flush=True)

    def supersede(self) -> None:
        """Delete the record that this one overwrites: there are results in its place."""
        self._reservation.supersede()

    def anomaly(self, text: str) -> None:
        """Print and record something that went wrong, such as a solver that stalled."""
        print(f"Anomaly: {text}", flush=True)
        self._record["anomalies"].append(text)
        with _writing(self._layout):
            self._save()

    def result(self, **numbers: float) -> None:
        """Add named numbers to the final metrics, units in their names."""
        results = plain_row(numbers)
        self._results |= results
        with _writing(self._layout):
            self._save()
        self._mirrors.log(results, self._history.epochs)

    def table(self, name: str, rows: Sequence[Row], title: str, shown: int | None = None) -> None:
        """Print `rows`, which share their keys, or so many of them, and write all to <name>.csv in
        full precision."""
        print(f"\n{title}\n{format_table(rows[:shown])}", flush=True)
        with _writing(self._layout):
            save_csv(self.folder / f"{name}.csv", rows)
        self.supersede()

    def save_weights(self, weights: Weights) -> None:
        """Write weights.npz, those of the last epoch, with layer_1, layer_2, ..., or the names that
        the arrays come with; replaces the last ones atomically."""
        with _writing(self._layout):
            save_npz(self.folder / WEIGHTS_FILE, **named(weights))

    def save_snapshot(self, epoch: int, weights: Weights) -> None:
        """Keep the weights after `epoch`, for an analysis of the run; those of a group are not."""
        if not self._layout.group:
            with _writing(self._layout):
                save_snapshot(self.folder, epoch, named(weights))

    def save_checkpoint(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        """Let this be where the run goes on, if it is cut short or given more epochs."""
        kept = "anomalies", "lengthened_after", "config", "data"
        so_far = {name: self._record[name] for name in kept}
        so_far |= {"rows": self._history.rows, "results": self._results}
        with _writing(self._layout):
            checkpoint.save_checkpoint(self.folder, arrays, so_far | facts)

    def _go_on(self) -> None:
        self.checkpoint, self.earlier_epochs = resumable(self.folder, self._record)
        facts = self.checkpoint.facts
        self._results = facts["results"]
        self._history.restore(facts["rows"])
        self._record["anomalies"] = facts["anomalies"]
        self._record["lengthened_after"] = facts["lengthened_after"]
        if self.earlier_epochs is not None:
            self._record["lengthened_after"].append(self.earlier_epochs)
        self._record["resumed_after_epoch"] = len(facts["rows"])

    def _save(self, durable: bool = True) -> None:
        self._record["final_metrics"] = self._history.last() | self._results
        save_json(self.folder / RECORD_FILE, self._record, durable)

    def _end(
        self, error: BaseException | None, log: Callable[[str], None], tables: "Tables"
    ) -> None:
        record = self._record
        with unstoppable():
            record["status"] = outcome(error)
            if error is not None and record["status"] != "completed":
                record["error"] = reason(error)
                log(log_entry(error))
            saved = self._save_end(error)
            self._mirrors.close(record["status"])
            put_back = self._reservation.put_back()
        if saved and not put_back:
            # torchrun stops a rank that ends early: its error must reach the user all the same
            with unstoppable() if isinstance(error, UserError) else nullcontext():
                report(self.tag, self._layout, tables)
        why = f" ({record['error']})" if record["status"] == "interrupted" else ""
        earlier = "; the earlier record is back in its place" if put_back else ""
        print(f"Run {self.tag}: {record['status']}{why}{earlier}", flush=True)

    def _save_end(self, error: BaseException | None) -> bool:
        """Write how the run ended; whether that could be written."""
        self._record["thread_pools"] = thread_pools()  # torch's own are loaded by now
        self._record["end"] = datetime.now().astimezone().isoformat(timespec="seconds")
        if self._has_process:
            with suppress(OSError):  # not Linux: memory is not measured
                memory = {"peak_memory_mb": peak_memory() / MEGABYTE}
                self._results |= memory
                self._mirrors.log(memory, self._history.epochs)
        try:
            with _writing(self._layout):
                self._history.save()
                self._save()
                if self._record["status"] == "completed":
                    self.supersede()
                    checkpoint.keep_latest(self.folder)
        except UserError as failure:
            if error is None:
                raise
            if str(failure) != str(error):  # which is raised anyhow
                notice(str(failure))
            return False
        return True


@contextmanager
def _writing(layout: Layout) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{layout.relative(layout.records)}/ cannot be written ({error.strerror or error}): "
            "free some space or mend its permissions; files that were complete are still there"
        ) from error
