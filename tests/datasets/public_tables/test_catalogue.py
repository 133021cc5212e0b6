"""The halves are as the rule says, and large enough."""

import pytest

from datasets.public_tables.catalogue import TABLES, half
from datasets.public_tables.packages import PACKAGES


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_other_table_is_for_choosing(task):
    names = sorted(name for name, table in TABLES.items() if table.task == task)
    choosing, judging = ([t.name for t in half(h, task)] for h in ("choosing", "judging"))
    assert choosing == names[::2]
    assert judging == names[1::2]


def test_there_are_a_dozen_of_each_half_and_none_twice():
    halves = [[*half(h, "classification"), *half(h, "regression")] for h in ("choosing", "judging")]
    assert min(map(len, halves)) >= 12
    names = [table.name for part in halves for table in part]
    assert sorted(names) == sorted(TABLES)
    sources = [(table.package, table.member) for table in TABLES.values()]
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_entries_are_whole(table):
    assert table.package in {*PACKAGES, "scikit-learn"}
    assert len(table.sha256) == 32
    assert table.target not in table.dropped
