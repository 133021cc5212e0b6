"""The record of one run: its numbers, where they come from, and how it ended."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.console import notice, tee_stdout
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import RunFlags
from new_algorithm.cli.signals import sigterm_exits, uninterrupted
from new_algorithm.cli.threads import thread_pools
from new_algorithm.record.anomalies import find_anomalies
from new_algorithm.record.checkpoint import (
    Checkpoint,
    check_same,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.endings import log_entry, outcome, reason
from new_algorithm.record.files import (
    Row,
    format_table,
    read_record,
    save_csv,
    save_npz,
    save_record,
)
from new_algorithm.record.history import History, epoch_line, plain_row, read_series
from new_algorithm.record.index import rebuild_index
from new_algorithm.record.layout import REPOSITORY, Layout
from new_algorithm.record.note import write_note
from new_algorithm.record.provenance import describe
from new_algorithm.record.reservation import Kind, is_filled, reserve

if TYPE_CHECKING:
    from new_algorithm.record.figures import Tables

MAY_DIFFER = (  # between a run that was cut short and its continuation
    *("tag", "overwrite", "resume", "threads", "data_dir", "verbose", "rank_timeout"),
)


class Run:
    """Records one run under its tag; use as `with Run(...) as run:`.

    script: the file that runs; config: its flags; root: repository below which everything is
    written; data: the provenance of the data set. Of that, `held_out` names the held-out set,
    `num_classes` makes the loss one in nats, `chance_accuracy` lets an anomaly be recognised.
    resume: continue the record of that tag, from its `checkpoint`, if flags and data are the
    same. keep: leave the content of that tag's folder, for a script that continues by itself. kind:
    a record of one kind never replaces one of another. tables: what draws the tables that the
    script leaves, by file name. group: of runs that belong together; they lie in a folder of that
    name and have a note, but no line in the index, and their figures are left to plot_runs.py.

    UserError if the tag is taken or in use, or the record cannot be written or resumed. Leaving the
    block writes status, figures, note and index, and lets exceptions pass. An earlier record that
    is overwritten is put back if this run fails before its first results.
    """

    def __init__(
        self,
        *,
        script: Path,
        config: RunFlags,
        data: dict[str, Any],
        root: Path = REPOSITORY,
        resume: bool = False,
        keep: bool = False,
        kind: Kind = "run",
        tables: "Tables | None" = None,
        group: str = "",
    ) -> None:
        self.status = "running"
        self.checkpoint: Checkpoint | None = None
        self._resume = resume
        self._keep = keep
        self._kind, self._tables = kind, tables or {}
        self._script = script
        self._config = config
        self._data = data
        self._layout = Layout(root, group)
        self._loss_unit = "nats" if data.get("num_classes") else None
        self._results: dict[str, Any] = {}

    def __enter__(self) -> "Run":
        config, layout, now = self._config, self._layout, datetime.now().astimezone()
        begun = config.tag is not None and is_filled(layout.record(config.tag))
        kept = self._resume or (self._keep and begun and not config.overwrite)
        with ExitStack() as stack, self._writing():
            place = config.tag, self._script.stem, config.overwrite, layout, now
            self._reservation = stack.enter_context(reserve(*place, resume=kept, kind=self._kind))
            self.tag = self._reservation.tag
            self.folder = layout.record(self.tag)
            log_path = layout.log(self.tag, now)
            self._log = stack.enter_context(tee_stdout(log_path))
            stack.enter_context(sigterm_exits())
            self._history = History(self.folder, self._loss_unit)
            self._record = {
                "tag": self.tag,
                "kind": self._kind,
                "status": self.status,
                "error": None,
                "start": now.isoformat(timespec="seconds"),
                "end": None,
                "data": self._data,
                "final_metrics": {},
                "anomalies": [],
                "loss_unit": self._loss_unit,
                **describe(self._script, config, self.tag, layout),
                "log": layout.relative(log_path) if log_path.exists() else None,
            }
            if self._resume:
                self._go_on()
            save_record(self.folder, self._record)
            print(f"Run {self.tag}: record in {layout.relative(self.folder)}/", flush=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            with uninterrupted():
                saved = self._finish(error)
                put_back = self._reservation.put_back()
            if saved and not put_back:
                # torchrun stops a rank that ends early: its error must reach the user all the same
                with uninterrupted() if isinstance(error, UserError) else nullcontext():
                    self._report()
            reason = f" ({self._record['error']})" if self.status == "interrupted" else ""
            earlier = "; the earlier record is back in its place" if put_back else ""
            print(f"Run {self.tag}: {self.status}{reason}{earlier}", flush=True)

    def record_epoch(
        self,
        epoch: int,
        *,
        train: Scores,
        held_out: Scores,
        layer_norms: ArrayLike,
        clock: TrainingClock,
        cg_iterations: ArrayLike | None = None,
        **extra_scalars: ArrayLike,
    ) -> None:
        """Save and print one epoch.

        train, held_out: on the training and the held-out set; the latter goes by the name that the
        data give it, test or validation. clock: the training time since the start of the run.
        ValueError if an epoch records other names or another number of layers than the first;
        UserError if the files cannot be written.
        """
        held = self._data.get("held_out", "test")
        numbers: dict[str, object] = {"epoch": epoch}
        for part, scores in (("train", train), (held, held_out)):
            named = {f"{part}_{name}": value for name, value in scores._asdict().items()}
            numbers |= {name: value for name, value in named.items() if value is not None}
        numbers["layer_norms"] = layer_norms
        if cg_iterations is not None:
            numbers["cg_iterations"] = cg_iterations
        numbers["train_cpu_seconds"] = clock.cpu_seconds
        numbers["train_wall_seconds"] = clock.wall_seconds
        row = plain_row(numbers | extra_scalars)
        with self._writing():
            self._history.append(row)
            self._save(durable=False)
        self.supersede()
        print(epoch_line(row, held), flush=True)

    def supersede(self) -> None:
        """Delete the record that this one overwrites: there are results in its place."""
        self._reservation.supersede()

    def anomaly(self, text: str) -> None:
        """Print and record something that went wrong, such as a solver that stalled."""
        print(f"Anomaly: {text}", flush=True)
        self._record["anomalies"].append(text)
        with self._writing():
            self._save()

    def result(self, **numbers: float) -> None:
        """Add named numbers to the final metrics, units in their names."""
        self._results |= plain_row(numbers)
        with self._writing():
            self._save()

    def table(self, name: str, rows: Sequence[Row], title: str) -> None:
        """Print `rows`, which share their keys, and write them to <name>.csv in full precision."""
        print(f"\n{title}\n{format_table(rows)}", flush=True)
        with self._writing():
            save_csv(self.folder / f"{name}.csv", rows)
        self.supersede()

    def save_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Write weights.npz with layer_1, layer_2, ...; replaces the last ones atomically."""
        arrays = {f"layer_{layer}": array for layer, array in enumerate(weights, start=1)}
        with self._writing():
            save_npz(self.folder / "weights.npz", **arrays)

    def save_checkpoint(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        """Let this be where the run goes on if it is cut short; gone once it is completed."""
        so_far = {
            "rows": self._history.rows,
            "results": self._results,
            "anomalies": self._record["anomalies"],
            "config": self._record["config"],
            "data": self._data,
        }
        with self._writing():
            save_checkpoint(self.folder, arrays, so_far | facts)

    def _go_on(self) -> None:
        earlier = read_record(self.folder) or {}
        if earlier.get("status") == "completed":
            raise UserError(f"--resume: run {self.tag} is completed, nothing is left to do")
        self.checkpoint = checkpoint = load_checkpoint(self.folder)
        check_same("setting", checkpoint.facts["config"], self._record["config"], MAY_DIFFER)
        check_same("data", checkpoint.facts["data"], self._data, ("source",))
        self._history.restore(checkpoint.facts["rows"])
        self._results = checkpoint.facts["results"]
        self._record["anomalies"] = checkpoint.facts["anomalies"]
        self._record["resumed_after_epoch"] = self._history.rows[-1]["epoch"]

    def _save(self, durable: bool = True) -> None:
        self._record["status"] = self.status
        self._record["final_metrics"] = self._history.last() | self._results
        save_record(self.folder, self._record, durable)

    def _finish(self, error: BaseException | None) -> bool:
        """Write how the run ended; whether that could be written."""
        self.status = outcome(error)
        self._record["thread_pools"] = thread_pools()  # torch's own are loaded by now
        self._record["end"] = datetime.now().astimezone().isoformat(timespec="seconds")
        if self.status != "completed" and error is not None:
            self._record["error"] = reason(error)
            self._log.write(log_entry(error))
        try:
            with self._writing():
                self._history.save()
                self._save()
                if self.status == "completed":
                    self.supersede()
                    remove_checkpoints(self.folder)
        except UserError as failure:
            if error is None:
                raise
            if str(failure) != str(error):  # which is raised anyhow
                notice(str(failure))
            return False
        return True

    def _report(self) -> None:
        """Anomalies, figures, note and index, each whatever becomes of the others."""
        steps = {
            "anomalies": self._record_anomalies,
            "figures": self._draw,
            "note": lambda: write_note(self.tag, self._layout),
            "index": lambda: rebuild_index(self._layout),
        }
        for what, step in steps.items():
            if self._layout.group and what in ("figures", "index"):
                continue
            try:
                step()
            except Exception as error:
                notice(f"no {what} of run {self.tag} ({error}); its record is complete")

    def _record_anomalies(self) -> None:
        self._record["anomalies"] += find_anomalies(
            read_series(self.folder), chance_accuracy=self._data.get("chance_accuracy")
        )
        self._save()

    def _draw(self) -> None:
        from new_algorithm.record.figures import draw_run  # matplotlib takes a second to import

        draw_run(self.tag, self._layout, self._tables)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self._layout.relative(self._layout.records)
            raise UserError(
                f"{place}/ cannot be written ({error.strerror or error}): free some space or mend "
                "its permissions; files that were complete are still there"
            ) from error
