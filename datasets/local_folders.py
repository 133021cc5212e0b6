"""The folders of this machine that may hold a data set."""

import os
from pathlib import Path

OWN_FOLDER = Path(__file__).resolve().parent
FOLDER_VARIABLE = "BACK_PROJECTION_DATASETS"


def folders_to_search(data_dir: Path | None, own_folder: Path) -> list[tuple[Path, str]]:
    """Each folder in its order, and how a record that is published names it.

    `data_dir` stands alone; without it the folder that BACK_PROJECTION_DATASETS names, where it
    names one, comes before `own_folder`.
    """
    if data_dir is not None:
        return [(data_dir, "the folder named by --data-dir")]
    own = (own_folder, "datasets/")
    if named := os.environ.get(FOLDER_VARIABLE):
        return [(Path(named), f"the folder named by {FOLDER_VARIABLE}"), own]
    return [own]
