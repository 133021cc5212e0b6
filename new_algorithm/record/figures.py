"""figures/<tag>/: the figures of a run, drawn from its recorded files alone."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from new_algorithm.plots.profile_figure import PROFILE_FILE, PROFILE_SIZE, draw_profile
from new_algorithm.plots.run_figures import run_figures
from new_algorithm.plots.style import draw
from new_algorithm.record.files import read_record, replace_atomically
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import Layout

# by the name of a table of the record: what draws it, given a figure and the path of the file; and
# the figure's size in inches
Tables = Mapping[str, tuple[Callable[..., None], tuple[float, float] | None]]
OF_ANY_SCRIPT: Tables = {PROFILE_FILE: (draw_profile, PROFILE_SIZE)}


def draw_run(tag: str, layout: Layout, tables: Tables) -> list[Path]:
    """Draw figures/<tag>/*.png from ploting_data/<tag>/; no path where nothing is recorded.

    A profile is drawn of any script's run.
    """
    folder = layout.record(tag)
    unit = (read_record(folder) or {}).get("loss_unit")
    figures = list(run_figures(read_series(folder), tag, unit))
    for file, (fill, size) in {**OF_ANY_SCRIPT, **tables}.items():
        if (folder / file).exists():
            figures.append((Path(file).stem, draw(partial(fill, path=folder / file), size)))
    return [save_figure(layout.figures(tag) / f"{name}.png", image) for name, image in figures]


def save_figure(path: Path, image: bytes) -> Path:
    """Write a figure's file, in a folder that may be new; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as file:
        file.write(image)
    return path
