"""Draw the figures of recorded runs or analyses again, or several runs in one figure.

    python new_algorithm/plot_runs.py my_run
    python new_algorithm/plot_runs.py run_a run_b run_c
    python new_algorithm/plot_runs.py run_a run_b --output-name adam_and_back_projection
    python new_algorithm/plot_runs.py my_experiment/mnist.Adam.0
    python new_algorithm/plot_runs.py my_run.analysis

One tag writes figures/<tag>/ anew, with the note of a run or the page of an analysis, from its
record alone; several draw figures/<output name>/comparison.png. A run of an experiment is named by
the experiment's tag, a slash, and its own.
"""

import difflib
import hashlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import default_as, parse, validate_tag
from new_algorithm.record.files import RECORD_FILE, read_record
from new_algorithm.record.fitting import fitting
from new_algorithm.record.history import read_series
from new_algorithm.record.index import rebuild_index
from new_algorithm.record.layout import ASIDE, Layout
from new_algorithm.record.reservation import kind_of

if TYPE_CHECKING:
    from new_algorithm.record.figures import Tables

LONGEST_JOINED_NAME = 60
TAGS_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Config:
    tags: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="TAG [TAG ...]", help_behavior_hint="(at least one)"),
    ]
    """Runs to draw: names of folders in ploting_data/, or EXPERIMENT/RUN."""
    output_name: Annotated[str | None, default_as("the tags, joined", metavar="NAME")] = None
    """Folder in figures/ for a comparison."""


def main() -> None:
    config = parse(Config, __doc__)
    tags, layout = list(dict.fromkeys(config.tags)), Layout()
    for path in draw(tags, config.output_name, layout):
        print(f"Wrote {layout.relative(path)}")
    if len(tags) == 1:  # a run that was killed at its end is not in it
        rebuild_index(layout)


def draw(tags: list[str], output_name: str | None, layout: Layout) -> list[Path]:
    """Draw one run or a comparison of several; the paths of what is written.

    UserError for an unknown tag, a run without an epoch, a name that belongs to a run, or a record
    that was changed.
    """
    _check_known(tags, layout)
    record = f"the record of {' or '.join(tags)} does not hold what figures need"
    with fitting(record, "repeat the run"):
        if len(tags) == 1 and output_name is None:
            return _draw_one(tags[0], layout)
        return _draw_together(tags, _joined(tags) if output_name is None else output_name, layout)


def _draw_together(tags: list[str], name: str, layout: Layout) -> list[Path]:
    # matplotlib takes a second to import
    from new_algorithm.plots.run_figures import COMPARISON_SIZE, draw_comparison
    from new_algorithm.plots.style import draw
    from new_algorithm.record.figures import save_figure

    validate_tag(name, "--output-name")
    if layout.record(name).exists():
        raise UserError(f"--output-name {name} is the tag of a run: choose another name")
    if layout.figures(name).is_symlink():
        raise UserError(f"--output-name {name}: figures/{name} is a symbolic link: choose another")
    runs = {}
    for tag in tags:
        folder = layout.record(tag)
        runs[tag] = read_series(folder), (read_record(folder) or {}).get("loss_unit")
        if not runs[tag][0]:
            raise UserError(f"run {tag} has recorded no epoch: leave it out")
    image = draw(partial(draw_comparison, runs=runs), COMPARISON_SIZE)
    return [save_figure(layout.figures(name) / "comparison.png", image)]


def _draw_one(tag: str, layout: Layout) -> list[Path]:
    """Draw what the record of that kind has, and write what shows the figures."""
    from new_algorithm.record.figures import draw_run
    from new_algorithm.record.note import write_note

    kind = kind_of(layout.record(tag))
    if kind == "experiment":
        raise UserError(f"{tag} is an experiment: write_report.py {tag} draws it")
    if kind == "analysis":
        from new_algorithm.analysis.page import write_page  # torch takes seconds
        from new_algorithm.analysis.parts import PARTS, tables_of

        return draw_run(tag, layout, tables_of(PARTS.values())) + write_page(tag, layout)
    paths = draw_run(tag, layout, _tables())
    if not paths:
        raise UserError(f"run {tag} has recorded no epoch: there is nothing to draw")
    return [*paths, write_note(tag, layout)]


def _tables() -> "Tables":
    """How the tables of every script are drawn."""
    from new_algorithm.experiments.depth_figure import DEPTH_FILE, draw_depth_file
    from new_algorithm.experiments.search_figure import SEARCH_FILE, draw_search
    from new_algorithm.gallery.architecture_search import figures as architecture_search
    from new_algorithm.gallery.attention import figures as attention
    from new_algorithm.gallery.contrastive import figures as contrastive
    from new_algorithm.gallery.meta_learning import figures as meta_learning
    from new_algorithm.measurements import TABLES
    from new_algorithm.plots import run_figures

    gallery = architecture_search.TABLES | attention.TABLES
    gallery |= contrastive.TABLES | meta_learning.TABLES
    own = {
        run_figures.CONVERGENCE_FILE: (run_figures.draw_convergence, run_figures.CONVERGENCE_SIZE),
        DEPTH_FILE: (draw_depth_file, (10.0, 4.2)),
        SEARCH_FILE: (draw_search, None),
    }
    return TABLES | gallery | own


def _check_known(tags: list[str], layout: Layout) -> None:
    members = _recorded("*/*", layout)
    runs = _recorded("*", layout) or members
    if not runs:
        raise UserError("ploting_data/ holds no run: run one of the training scripts first")
    newest = f"the newest are {', '.join(runs[:TAGS_SHOWN])}"
    if not tags:
        raise UserError(f"name at least one run; {newest}")
    for tag in tags:
        if tag not in runs and tag not in members:
            near = difflib.get_close_matches(tag, members if "/" in tag else runs, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else newest
            raise UserError(f"ploting_data/ holds no run {tag!r}: {hint}")


def _recorded(pattern: str, layout: Layout) -> list[str]:
    """The names of the runs whose folders match, the newest first."""
    paths = [
        path for path in layout.records.glob(f"{pattern}/{RECORD_FILE}") if ASIDE not in path.parts
    ]
    paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.relative_to(layout.records).as_posix() for path in paths]


def _joined(tags: list[str]) -> str:
    name = "-".join(tags).replace("/", "_")
    if len(name) <= LONGEST_JOINED_NAME:
        return name
    return f"comparison_of_{len(tags)}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


if __name__ == "__main__":
    run_main(main)
