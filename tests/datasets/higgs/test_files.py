import pytest

from datasets import find_higgs
from datasets.higgs.files import locate_higgs
from new_algorithm.cli.errors import UserError

IN_ORDER = [
    "HIGGS.csv",
    "HIGGS.csv.gz",
    "HIGGS.csv.0",
    "HIGGS.csv.gz.aa",
    "HIGGS_sample_11k.csv.gz",
    "HIGGS_sample_2k.csv.gz",
    "HIGGS_sample.csv",
]


@pytest.fixture
def folder(tmp_path, own):
    """folder("own", "HIGGS.csv") -> a folder of that name with such a file, not fit to be read."""

    def make(name, *files):
        (tmp_path / name).mkdir(exist_ok=True)
        for file in files:
            (tmp_path / name / file).write_bytes(b"never opened")
        return tmp_path / name

    return make


def parts_of(origin):
    """The names of the files in their order."""
    return [name for name, *_ in origin.identity["files"]]


@pytest.mark.parametrize("place", range(len(IN_ORDER)))
def test_the_whole_file_comes_before_a_sample(folder, place):
    given = folder("given", *IN_ORDER[place:])
    assert find_higgs(given) == given / IN_ORDER[place]


@pytest.mark.parametrize(
    "name",
    [
        *("HIGGS.csv.gz.part", "HIGGS.csv.lock", "HIGGS.csv.gz.1.part", "HIGGS.csv.gz.00.lock"),
        *("HIGGS.csv~", "HIGGS.csv.~1~", "HIGGS.csv.1~", "HIGGS.csv.bak", ".HIGGS.csv.1.swp"),
        *("HIGGS.csv.gz.sha256", "HIGGS.csv.md5", "HIGGS.csv.1.sha256", "HIGGS.csv.gz.sha512"),
        *("HIGGS.csv.bz2", "HIGGS.csv.xz", "HIGGS.csv.7z", "HIGGS.csv.gz.gz", "HIGGS.csv.zip"),
        *("higgs.txt", "HIGGS_sample.npz", "HIGGS_sample.csv.part", "XHIGGS.csv.1"),
    ],
)
def test_other_files_are_passed_over(folder, name):
    assert find_higgs(folder("given", name)) is None
    beside = folder("beside", name, "HIGGS.csv.1")
    assert parts_of(locate_higgs(beside)) == ["HIGGS.csv.1"]


def test_folders_of_that_name_are_passed_over(folder):
    given = folder("given")
    for name in ("HIGGS.csv", "HIGGS.csv.1", "HIGGS_sample.csv"):
        (given / name).mkdir()
    assert find_higgs(given) is None


ORDERS = {
    "numbers": [f"HIGGS.csv.{number}" for number in range(1, 12)],
    "digits": [f"HIGGS.csv.gz.{number:02d}" for number in range(12)],
    "letters": [f"HIGGS.csv.gz.{a}{b}" for a in "abc" for b in "abcdefghijklmnopqrstuvwxyz"],
    "words": [f"HIGGS.csv.part-{number}.gz" for number in range(12)],
}


@pytest.mark.parametrize("order", ORDERS)
def test_parts_come_in_the_order_of_their_numbers(folder, order):
    given = folder("given", *reversed(ORDERS[order]))
    origin = locate_higgs(given)
    assert parts_of(origin) == ORDERS[order]
    first, last = ORDERS[order][0], ORDERS[order][-1]
    words = f"{first} to {last} ({len(ORDERS[order])} parts) in the folder named by --data-dir"
    assert origin.words == words
    assert find_higgs(given) == given / first


def test_parts_of_two_kinds_are_never_mixed(folder):
    given = folder("given", "HIGGS.csv.gz.0", "HIGGS.csv.gz.1", "HIGGS.csv.0", "HIGGS.csv.1")
    assert parts_of(locate_higgs(given)) == ["HIGGS.csv.0", "HIGGS.csv.1"]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["HIGGS.csv.0", "HIGGS.csv.2"], r"HIGGS\.csv\.2: a part before it is missing"),
        (["HIGGS.csv.2", "HIGGS.csv.3"], r"HIGGS\.csv\.2: a part before it is missing"),
        (["HIGGS.csv.1", "HIGGS.csv.01"], r"HIGGS\.csv\.0?1: there are two of it"),
        (["HIGGS.csv.gz.ac"], r"HIGGS\.csv\.gz\.ac: a part before it is missing"),
    ],
)
def test_a_part_that_lacks_or_comes_twice_is_named(folder, names, fault):
    given = folder("given", *names)
    with pytest.raises(UserError, match=fault):
        locate_higgs(given)
    assert find_higgs(given).name.startswith("HIGGS.csv")


def test_an_explicit_data_dir_is_searched_alone(folder, monkeypatch):
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(folder("named", "HIGGS.csv")))
    folder("own", "HIGGS.csv")
    assert find_higgs(folder("bare")) is None
    with pytest.raises(UserError, match=r"no HIGGS in \S*bare: put HIGGS\.csv\.gz \(the UCI HIGGS"):
        locate_higgs(folder("bare"))
    given = folder("given", "HIGGS.csv")
    origin = locate_higgs(given)
    assert origin.words == "HIGGS.csv in the folder named by --data-dir"
    assert origin.path == given / "HIGGS.csv"


def test_the_environment_comes_before_the_own_folder(folder, monkeypatch):
    folder("own", "HIGGS.csv")
    named = folder("named", "HIGGS.csv.gz")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    origin = locate_higgs()
    assert origin.words == "HIGGS.csv.gz in the folder named by BACK_PROJECTION_DATASETS"
    assert origin.path == find_higgs() == named / "HIGGS.csv.gz"


def test_a_whole_file_anywhere_comes_before_a_sample(folder, monkeypatch):
    own = folder("own", "HIGGS.csv")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(folder("named", "HIGGS_sample.csv")))
    assert find_higgs() == own / "HIGGS.csv"


@pytest.mark.parametrize("named", ["bare", "absent", ""])
def test_the_own_folder_comes_last(folder, tmp_path, monkeypatch, named):
    folder("bare")
    own = folder("own", "HIGGS.csv.gz")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", named and str(tmp_path / named))
    assert locate_higgs().path == own / "HIGGS.csv.gz"
    assert locate_higgs().words == "HIGGS.csv.gz in datasets/"


def test_where_there_is_none_one_line_names_the_folders_and_the_remedy(folder, monkeypatch):
    named, own = folder("named"), folder("own")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    assert find_higgs() is None
    with pytest.raises(UserError) as failure:
        locate_higgs()
    message = str(failure.value)
    assert f"no HIGGS in {named} or {own}: put HIGGS.csv.gz" in message
    assert "\n" not in message
