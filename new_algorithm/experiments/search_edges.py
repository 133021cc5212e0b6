"""Settings that were chosen at an edge of what a search could try: more might lie beyond."""

import math

from new_algorithm.methods.method import Settings
from new_algorithm.methods.search_space import Choice, Range, Space

NEAR = 0.05  # of a range in its logarithm


def at_an_edge(space: Space, settings: Settings) -> list[str]:
    """Return the names of the settings that lie at an edge of `space`.

    That is within NEAR of either end of a range, or the least or largest of three numbers or more.
    """
    return [name for name, values in space.items() if _is_edge(values, settings[name])]


def _is_edge(values: Range | Choice, value: object) -> bool:
    if isinstance(values, Range):
        place = math.log(value / values.low) / math.log(values.high / values.low)
        return not NEAR < place < 1 - NEAR
    numbers = [one for one in values.values if isinstance(one, int | float)]
    ordered = len(numbers) == len(values.values) > 2
    return ordered and value in (min(numbers), max(numbers))
