"""Several methods on several seeds, in turns."""

from collections.abc import Iterable
from itertools import product

from datasets import Dataset
from new_algorithm.benchmarks.methods import Method
from new_algorithm.lab.measurement import Score
from new_algorithm.lab.progress import progress


def in_turns(
    seeds: Iterable[int], methods: dict[str, tuple[Method, Dataset]]
) -> dict[str, list[Score]]:
    """Run every method once a seed, seed by seed, so that the machine's moods hit all alike."""
    scores: dict[str, list[Score]] = {name: [] for name in methods}
    jobs = list(product(seeds, methods.items()))
    for seed, (name, (method, data)) in progress(jobs, "runs", len(jobs)):
        scores[name].append(method(data, seed))
    return scores
