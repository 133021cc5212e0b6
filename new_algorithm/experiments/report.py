"""The report of an experiment, rebuilt from its record alone: a page, its twin and figures."""

from pathlib import Path
from typing import Any

from new_algorithm.experiments import report_tables as tables
from new_algorithm.experiments import report_text as text
from new_algorithm.experiments.across_tables import across_table, margins_table
from new_algorithm.experiments.across_tasks import across_tasks
from new_algorithm.experiments.leaderboard import leaderboard
from new_algorithm.experiments.record_tables import ExperimentRecord, read_experiment
from new_algorithm.experiments.report_figures import (
    Picture,
    draw_against_depth,
    draw_map,
    draw_over_tasks,
    draw_task,
)
from new_algorithm.record.files import save_text
from new_algorithm.record.fitting import fitting
from new_algorithm.record.layout import Layout
from new_algorithm.record.pages import page_templates

TEMPLATES = Path(__file__).parent / "templates"
PAGES = {"report.html": "report.html", "report.md": "README.md"}  # template: file


def write_report(tag: str, layout: Layout) -> list[Path]:
    """Write figures/<tag>/ from ploting_data/<tag>/ and return its files.

    UserError where the record is missing or unsound.
    """
    record = read_experiment(tag, layout)
    where = f"{layout.relative(layout.record(tag))}/ does not hold what a report needs"
    with fitting(where, "run the experiment again, finished runs are kept"):
        return _write(record, layout)


def _write(record: ExperimentRecord, layout: Layout) -> list[Path]:
    tag, folder = record.tag, layout.figures(record.tag)
    folder.mkdir(parents=True, exist_ok=True)
    experiment = record.experiment
    leaderboards = {task.name: leaderboard(record, task) for task in experiment.tasks}
    sections: list[dict[str, Any]] = []
    for task in experiment.tasks:
        standings = leaderboards[task.name]
        if experiment.is_ablation:  # the whole method first, then its parts by importance
            standings = sorted(
                standings[::-1], key=lambda one: one.variation != experiment.baseline
            )
        sections.append(
            {
                "name": task.name,
                "description": text.describe(task),
                "table": tables.leaderboard_table(record, task, standings),
                "pictures": draw_task(record, task, standings, folder),
                "search": tables.search_table(record, task),
            }
        )
    content: dict[str, Any] = {
        "tag": tag,
        "experiment": experiment,
        "commands": record.commands,
        "ranking": "Importance" if experiment.is_ablation else "Leaderboard",
        "summary": text.summary(record),
        "how_to_read": text.how_to_read(record),
        "sections": sections,
        "losses": text.losses(record),
        "spaces": tables.space_table(record),
        "fairness": text.fairness(record),
        "environment": tables.environment_table(record),
        "runs": tables.runs_table(record),
        "lambda_map": draw_map(record, folder),
        "depth": draw_against_depth(record, folder),
        "paper": None if experiment.paper is None else text.beside_paper(record, experiment.paper),
        "overview": None,  # of parts and of one method there is none
        "across": None,  # of a few tasks likewise
    }
    if (found := across_tasks(record)) is not None:
        content["across"] = draw_over_tasks(record, found, folder)
        content["across_tables"] = across_table(found, experiment.baseline), margins_table(found)
    if len(experiment.variations) > 1 and not experiment.is_ablation:
        content["overview"] = tables.overview_table(record, leaderboards)
        content["verdicts"] = [
            text.verdict(record, task, leaderboards[task.name]) for task in experiment.tasks
        ]
    pictures: list[Picture] = [one for section in sections for one in section["pictures"]]
    pictures += [content[name] for name in ("across", "lambda_map", "depth") if content[name]]
    templates = page_templates(TEMPLATES)
    for template, name in PAGES.items():
        save_text(folder / name, templates.get_template(template).render(content))
    return [folder / name for name in PAGES.values()] + [picture.svg for picture in pictures]
