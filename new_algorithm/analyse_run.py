"""See inside a run: what its record says about the network, part by part, without training again.

    python new_algorithm/analyse_run.py TAG                         # all parts, a minute
    python new_algorithm/analyse_run.py TAG --parts errors curvature
    python new_algorithm/analyse_run.py TAG --beside OTHER          # and what two runs share
    python new_algorithm/analyse_run.py EXPERIMENT/RUN              # a script's in an experiment

TAG is a run of any script that trains a network, made on this machine: its weights.npz and
snapshots/ are read, which are never committed. The data that it was trained on are loaded again.

Writes ploting_data/TAG.analysis/, a page and its twin in figures/TAG.analysis/, and _logs/; parts
that are analysed again replace their own tables alone.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from new_algorithm.analysis import PARTS_FILE
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import PositiveInt, RunFlags, default_as, parse, validate_tag
from new_algorithm.cli.threads import fix_threads
from new_algorithm.record.files import Row, read_json, save_csv, save_json, save_npy
from new_algorithm.record.layout import Layout
from new_algorithm.record.run import Run

if TYPE_CHECKING:
    from new_algorithm.analysis.findings import Findings, Part, Settings
    from new_algorithm.analysis.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    of: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TAG")]
    """The run to look into: a folder in ploting_data/, or in that of an experiment."""
    tag: Annotated[str | None, default_as("TAG.analysis, a dot for a slash", metavar="NAME")] = None
    """Name of the analysis."""
    overwrite: bool = False
    """Forget what an earlier analysis found; without it parts that are not asked for now stay."""
    parts: Annotated[tuple[str, ...], default_as("all", metavar="PART")] = ()
    """errors, representations, flow, landscape, curvature, fisher, capacity."""
    beside: Annotated[str | None, default_as("none", metavar="TAG")] = None
    """A second run of the same architecture, for the parts that compare two."""
    rows: PositiveInt = 1000
    """Rows of the training and of the held-out part each, drawn at random, where all take long."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where the data lie; else where the run found them."""


def main() -> None:
    config = parse(Config, __doc__)
    fix_threads(config.threads)
    analyse(config, Layout())


def analyse(config: Config, layout: Layout) -> None:
    """Analyse a run and write the page; UserError for a run or a part that is not there."""
    import torch

    from new_algorithm.analysis.findings import Settings
    from new_algorithm.analysis.page import write_page
    from new_algorithm.analysis.parts import chosen_parts, tables_of
    from new_algorithm.analysis.subject import read_subject

    torch.set_num_threads(config.threads)
    tag = config.tag or f"{config.of.replace('/', '.')}.analysis"
    for name in filter(None, (config.of, config.beside)):
        for folder in name.split("/", 1):
            validate_tag(folder, "TAG")
    parts = chosen_parts(config.parts)
    subject = read_subject(config.of, layout, config.data_dir)
    other = None
    if config.beside:
        other = read_subject(config.beside, layout, config.data_dir).to(subject.dtype)
    settings = Settings(config.rows, config.seed, other)
    run_flags: dict[str, Any] = {
        "script": Path(__file__),
        "config": replace(config, tag=tag),
        "data": subject.data.provenance(),
        "root": layout.root,
        "keep": True,
        "kind": "analysis",
        "tables": tables_of(parts),
    }
    with Run.open(**run_flags) as run:
        prepare(run, subject, layout)
        for part in parts:
            record_findings(run, part, found_by(part, subject, settings, run), layout)
    for path in write_page(tag, layout):
        print(f"Wrote {layout.relative(path)}", flush=True)


def prepare(run: Run, subject: "Subject", layout: Layout) -> None:
    """Forget what was found in a run that is no longer the same, or in another one."""
    known = {"of": subject.tag, "start": subject.record["start"]}
    facts = read_json(run.folder / PARTS_FILE) or {}
    parts = facts.get("parts", {})
    if any(facts.get(name) != value for name, value in known.items()):
        for part in parts.values():
            forget(run, part, layout)
        parts = {}
    save_json(run.folder / PARTS_FILE, {**known, "about": subject.about, "parts": parts})
    print(subject.about, flush=True)


def found_by(part: "Part", subject: "Subject", settings: "Settings", run: Run) -> "Findings":
    """What a part finds; of one that fails, why, so that the others are not lost."""
    from new_algorithm.analysis.findings import Findings

    try:
        return part.analyse(subject, settings)
    except UserError:
        raise
    except Exception as error:
        run.anomaly(f"{part.name}: {type(error).__name__}: {error}")
        told = f"This part failed: {type(error).__name__}: {error}."
        return Findings(sentences=[told], failed=True)


def forget(run: Run, part: dict[str, Any], layout: Layout) -> None:
    """Delete the tables, arrays and figures of a part that was analysed before."""
    for name in (*(table["name"] for table in part["tables"]), *part["arrays"]):
        for path in (run.folder / f"{name}.csv", run.folder / f"{name}.npy"):
            path.unlink(missing_ok=True)
    for name in part["captions"]:
        (layout.figures(run.tag) / f"{name}.png").unlink(missing_ok=True)


def record_findings(run: Run, part: "Part", found: "Findings", layout: Layout) -> None:
    """Print what a part found, and write it to the record in place of what it found before."""
    facts = read_json(run.folder / PARTS_FILE) or {}
    if part.name in facts["parts"]:
        forget(run, facts["parts"][part.name], layout)
    for one in filter(lambda table: table.rows, found.tables):
        if one.shown:
            run.table(one.name, one.rows, one.title)
        else:
            save_csv(run.folder / f"{one.name}.csv", one.rows)
    for name, array in found.arrays.items():
        save_npy(run.folder / f"{name}.npy", array)
    print("\n".join(("", *found.sentences)), flush=True)
    tables: list[Row] = [
        {"name": one.name, "title": one.title, "shown": one.shown}
        for one in found.tables
        if one.rows
    ]
    facts["parts"][part.name] = {
        "name": part.name,
        "title": part.title,
        "failed": found.failed,
        "sentences": found.sentences,
        "tables": tables,
        "arrays": list(found.arrays),
        "captions": dict(part.captions),
    }
    save_json(run.folder / PARTS_FILE, facts)


if __name__ == "__main__":
    run_main(main)
