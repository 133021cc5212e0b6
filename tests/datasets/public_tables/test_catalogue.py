"""The halves are as the rule says, and large enough."""

import pytest

from datasets.public_tables.catalogue import TABLES, half
from datasets.public_tables.packages import PACKAGES


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_other_table_of_a_group_is_for_choosing(task):
    of_task = [table for table in TABLES.values() if table.task == task]
    first, second = (
        sorted(table.name for table in of_task if table.group == group)
        for group in ("first", "second")
    )
    choosing, judging = ([t.name for t in half(h, task)] for h in ("choosing", "judging"))
    assert choosing == first[::2] + second[::2]
    assert judging == first[1::2] + second[1::2]


def test_no_table_has_changed_sides_when_the_second_group_came():
    assert {"letter", "wa_churn", "ames", "wagepan"} <= names_of("judging")
    assert {"vowel", "ad_data", "airfare", "wage"} <= names_of("choosing")


def names_of(which):
    return {table.name for task in ("classification", "regression") for table in half(which, task)}


def test_there_are_a_dozen_of_each_half_and_none_twice():
    halves = [[*half(h, "classification"), *half(h, "regression")] for h in ("choosing", "judging")]
    assert min(map(len, halves)) >= 12
    names = [table.name for part in halves for table in part]
    assert sorted(names) == sorted(TABLES)
    sources = [(table.package, table.member) for table in TABLES.values()]
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_entries_are_whole(table):
    assert table.package in {*PACKAGES, "Rdatasets", "scikit-learn", "mnist1d"}
    assert len(table.sha256) == 32
    assert table.target not in table.dropped
