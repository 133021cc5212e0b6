"""All rules in the order in which they are read: what is a cause before what it brings about."""

from collections.abc import Callable, Iterable

import numpy as np

from new_algorithm.record.advice import of_data, of_layers, of_the_record, of_training
from new_algorithm.record.advice.finding import Finding, Record, Series

Rule = Callable[[Record, Series], Finding | None]

OF_THE_RECORD: tuple[Rule, ...] = (
    of_the_record.failed,
    of_data.wild_features,
    of_data.class_imbalance,
    of_training.not_finite,
)
OF_THE_SERIES: tuple[Rule, ...] = (  # which have at least one epoch
    of_layers.damping_at_its_limit,
    of_training.spoilt,
    of_layers.exploding_or_vanishing,
    of_layers.dead_units,
    of_layers.ill_conditioned,
    of_layers.rough_solves,
    of_layers.broken_promises,
    of_layers.overdamped,
    of_layers.growing_weights,
    of_training.alien_held_out_rows,
    of_training.overfitted,
)
WITHOUT_A_CAUSE: tuple[Rule, ...] = (  # symptoms, which any warning above explains
    of_training.stuck,
    of_training.below_chance,
    of_training.swinging,
    of_training.few_steps,
    of_training.still_falling,
)
LAST: tuple[Rule, ...] = (
    of_the_record.interrupted,
    of_the_record.settings_chosen,
    of_the_record.uncommitted,
    of_the_record.one_seed,
)


@np.errstate(all="ignore")  # rules look at whatever a run left
def advise(record: Record, series: Series) -> list[Finding]:
    """Return what stands out, warnings before hints; a pure function of run.json and the arrays."""
    found = _asked(OF_THE_RECORD, record, series)
    if series:
        found += _asked(OF_THE_SERIES, record, series)
        for rule in WITHOUT_A_CAUSE:
            if not any(one.severity == "warning" for one in found):
                found += _asked([rule], record, series)
    found += _asked(LAST, record, series)
    return sorted(found, key=lambda finding: finding.severity == "hint")  # stable


def _asked(rules: Iterable[Rule], record: Record, series: Series) -> list[Finding]:
    return [finding for rule in rules if (finding := rule(record, series)) is not None]
