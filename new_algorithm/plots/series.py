"""The numbers of a run as figures and notes use them; matplotlib, slow to import, is elsewhere."""

import numpy as np

Series = dict[str, np.ndarray]  # (epochs,) or, where a number belongs to a layer, (epochs, layers)


def held_out_name(series: Series) -> str:
    """Return `validation` where the run was evaluated on that, otherwise `test`."""
    return "validation" if "validation_loss" in series else "test"
