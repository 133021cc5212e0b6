"""Whether a run can go on from its checkpoint: with the same flags and data, or more epochs."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.cli.errors import UserError
from new_algorithm.record.checkpoint import Checkpoint, load_checkpoint
from new_algorithm.record.files import read_record
from new_algorithm.record.fitting import fitting

MAY_DIFFER: tuple[str, ...] = (  # between a run that was cut short and its continuation
    *("tag", "overwrite", "resume", "threads", "data_dir", "verbose", "rank_timeout", "profile"),
    *("checkpoint_minutes", "check", "track"),
)
DATA_MAY_DIFFER = (
    *("source", "class_shares", "feature_scales", "far_x", "far_y"),  # all but one not always there
)


def resumable(folder: Path, record: dict[str, Any]) -> tuple[Checkpoint, int | None]:
    """Return the checkpoint of the run in `folder`, and how many epochs it had, if it is finished.

    record: of the run as it is to go on. UserError that says what is different; a finished run is
    to have more epochs than before.
    """
    checkpoint = load_checkpoint(folder)
    with fitting_checkpoint():
        _check_facts(checkpoint.facts)
        facts, may_differ = checkpoint.facts, MAY_DIFFER
        earlier_epochs = _lengthened(facts, record["config"])
        if earlier_epochs is not None:
            may_differ += ("epochs",)
        elif (read_record(folder) or {}).get("status") == "completed":
            raise UserError(_completed(record["tag"], facts["config"], record["config"]))
        check_same("setting", facts["config"], record["config"], may_differ)
        check_same("data", facts["data"], record["data"], DATA_MAY_DIFFER)
    return checkpoint, earlier_epochs


def first_fits(steps: Iterator[Any]) -> Iterator[Any]:
    """Yield the steps after a checkpoint was taken up; what fails on the way to the first of them
    lies in the checkpoint, of which not every part can be judged before it is used."""
    with fitting_checkpoint():
        first = list(islice(steps, 1))
    yield from chain(first, steps)


def fitting_checkpoint() -> AbstractContextManager[None]:
    """Let it be a UserError where a checkpoint, sound as a file, does not hold what is needed."""
    return fitting(
        "--resume: the checkpoint is not one of this script as it is now",
        "run again with --overwrite in place of --resume",
    )


def _check_facts(facts: dict[str, Any]) -> None:
    epochs = [row["epoch"] for row in facts["rows"]]
    if epochs != [*range(1, len(epochs) + 1)]:
        raise ValueError(f"it holds the epochs {epochs}")
    for name in ("config", "data", "results"):
        if not isinstance(facts[name], dict):
            raise TypeError(f"its {name} is a {type(facts[name]).__name__}")
    best = facts["results"].get("best_epoch")
    if best is not None and (type(best) is not int or best not in epochs):
        raise ValueError(f"its best epoch is {best!r} of {len(epochs)}")
    facts["anomalies"] = [*facts["anomalies"]]
    facts["lengthened_after"] = [int(epochs) for epochs in facts.get("lengthened_after", ())]
    for row in facts["rows"]:
        if not all(map(str.isidentifier, row)):  # they name files
            raise ValueError(f"it holds the numbers {[*row]}")
        if _forms(row) != _forms(facts["rows"][0]):
            raise ValueError(f"epoch {row['epoch']} holds other numbers than the first")


def _forms(row: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of what an epoch has recorded; ValueError for what is no number."""
    arrays = {name: np.asarray(value) for name, value in row.items()}
    if odd := [name for name, array in arrays.items() if array.dtype.kind not in "iuf"]:
        raise ValueError(f"it holds {odd[0]}={row[odd[0]]}")
    return {name: array.shape for name, array in arrays.items()}


def _lengthened(facts: dict[str, Any], config: dict[str, Any]) -> int | None:
    earlier, now = (one.get("epochs") for one in (facts["config"], config))
    is_finished = earlier is not None and len(facts["rows"]) >= earlier
    return earlier if is_finished and now is not None and now > earlier else None


def _completed(tag: str, then: dict[str, Any], now: dict[str, Any]) -> str:
    trained, wanted = (one.get("epochs") for one in (then, now))
    asked = "" if trained == wanted else f", and --epochs is {wanted}"
    return (
        f"--resume: run {tag} is completed, with {trained} epochs{asked}: give more --epochs to "
        f"train on; `plot_runs.py {tag}` draws its figures again"
    )


def check_same(
    what: str, then: dict[str, Any], now: dict[str, Any], but: tuple[str, ...] = ()
) -> None:
    """UserError that lists the names, except `but`, whose values differ between then and now."""
    now = json.loads(json.dumps(now))  # tuples as lists
    different = [
        f"{name} was {_shown(then.get(name))} and is {_shown(now.get(name))}"
        for name in sorted(then.keys() | now.keys())
        if name not in but and then.get(name) != now.get(name)
    ]
    if different:
        raise UserError(
            f"--resume: the {what} is not the same: {'; '.join(different)}; start the command that "
            "was cut short again, with --resume added; if it is the same one and defaults changed, "
            "give what differs as it was, or begin anew with --overwrite"
        )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
