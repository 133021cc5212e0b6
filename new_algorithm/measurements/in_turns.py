"""Several methods on several seeds, in turns."""

from collections.abc import Iterable
from itertools import product

from datasets import Dataset
from new_algorithm.cli.progress import progress
from new_algorithm.measurements.methods import Method
from new_algorithm.record.measurement import Score


def in_turns(
    seeds: Iterable[int], methods: dict[str, tuple[Method, Dataset]]
) -> dict[str, list[Score]]:
    """Run every method once a seed, seed by seed, so that the machine's moods hit all alike."""
    scores: dict[str, list[Score]] = {name: [] for name in methods}
    jobs = list(product(seeds, methods.items()))
    for seed, (name, (method, data)) in progress(jobs, "runs", len(jobs)):
        scores[name].append(method(data, seed))
    return scores
