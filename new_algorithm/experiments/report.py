"""The report of an experiment, rebuilt from its record alone: a page, its twin and figures."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from new_algorithm.experiments import report_text
from new_algorithm.experiments.definition import Task
from new_algorithm.experiments.leaderboard import Standing, leaderboard
from new_algorithm.experiments.quantities import is_ablation
from new_algorithm.experiments.record_tables import ExperimentRecord, read_experiment
from new_algorithm.experiments.report_figures import (
    Picture,
    draw_against_depth,
    draw_map,
    draw_task,
)
from new_algorithm.experiments.report_tables import (
    environment_table,
    leaderboard_table,
    overview_table,
    runs_table,
    search_table,
    space_table,
)
from new_algorithm.record.files import save_text
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import table

TEMPLATES = Path(__file__).parent / "templates"
PAGES = {"report.html": "report.html", "report.md": "README.md"}  # template: file


def write_report(tag: str, layout: Layout) -> list[Path]:
    """Write figures/<tag>/ from ploting_data/<tag>/ and return its files.

    UserError where the record is missing or unsound.
    """
    record = read_experiment(tag, layout)
    folder = layout.figures(tag)
    folder.mkdir(parents=True, exist_ok=True)
    leaderboards = {task.name: leaderboard(record, task) for task in record.experiment.tasks}
    sections = [
        _task_section(record, task, _in_order(record, leaderboards[task.name]), folder)
        for task in record.experiment.tasks
    ]
    lambda_map = draw_map(record, folder) if record.lambda_map else None
    depth = draw_against_depth(record, folder)
    content = _content(record, sections, lambda_map) | _overview(record, leaderboards)
    content["depth"] = depth
    templates = _templates()
    pages = []
    for template, name in PAGES.items():
        save_text(folder / name, templates.get_template(template).render(content))
        pages.append(folder / name)
    pictures = [picture for section in sections for picture in section["pictures"]]
    pictures += [picture for picture in (lambda_map, depth) if picture]
    return pages + [picture.svg for picture in pictures]


def _task_section(
    record: ExperimentRecord, task: Task, standings: list[Standing], folder: Path
) -> dict[str, Any]:
    return {
        "name": task.name,
        "description": report_text.describe(task),
        "table": leaderboard_table(record, task, standings),
        "pictures": draw_task(record, task, standings, folder),
        "search": search_table(record, task),
    }


def _in_order(record: ExperimentRecord, standings: list[Standing]) -> list[Standing]:
    """As they are; in an ablation the whole method first, then its parts by importance."""
    if not is_ablation(record.experiment):
        return standings
    baseline = record.experiment.baseline
    return sorted(reversed(standings), key=lambda one: one.variation != baseline)


def _overview(record: ExperimentRecord, leaderboards: dict[str, list[Standing]]) -> dict[str, Any]:
    """The answer in short, where methods are compared; of parts and of one method there is none."""
    if is_ablation(record.experiment) or len(record.experiment.variations) == 1:
        return {"overview": None, "verdicts": []}
    return {
        "overview": overview_table(record, leaderboards),
        "verdicts": report_text.verdicts(record, leaderboards),
    }


def _content(
    record: ExperimentRecord, sections: list[dict[str, Any]], lambda_map: Picture | None
) -> dict[str, Any]:
    """What both templates show."""
    return {
        "tag": record.tag,
        "experiment": record.experiment,
        "commands": record.commands,
        "ranking": "Importance" if is_ablation(record.experiment) else "Leaderboard",
        "summary": report_text.summary(record),
        "how_to_read": report_text.how_to_read(record),
        "sections": sections,
        "paper": report_text.paper_verdict(record),
        "losses": report_text.losses(record),
        "spaces": space_table(record),
        "lambda_map": lambda_map,
        "fairness": report_text.fairness(record),
        "environment": environment_table(record),
        "runs": runs_table(record),
    }


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals["markdown_table"] = table
    return templates
