import pytest

from datasets import find_higgs
from datasets.higgs_sources import locate_higgs
from new_algorithm.lab.errors import UserError

IN_ORDER = [
    "HIGGS.csv",
    "HIGGS.csv.gz",
    "HIGGS_sample_11k.csv.gz",
    "HIGGS_sample_2k.csv.gz",
    "HIGGS_sample.csv",
]


@pytest.fixture
def folder(tmp_path):
    """folder("own", "HIGGS.csv") -> a folder of that name with such a file, not fit to be read."""

    def make(name, *files):
        (tmp_path / name).mkdir(exist_ok=True)
        for file in files:
            (tmp_path / name / file).write_bytes(b"never opened")
        return tmp_path / name

    return make


@pytest.mark.parametrize("place", range(len(IN_ORDER)))
def test_the_whole_file_comes_before_a_sample(folder, place):
    given = folder("given", *IN_ORDER[place:])
    assert find_higgs(given) == given / IN_ORDER[place]


def test_other_files_and_folders_of_that_name_are_passed_over(folder):
    given = folder("given", "HIGGS.csv.gz.part", "higgs.txt", "HIGGS_sample.npz")
    (given / "HIGGS.csv").mkdir()
    assert find_higgs(given) is None


def test_an_explicit_data_dir_is_searched_alone(folder, monkeypatch):
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(folder("named", "HIGGS.csv")))
    own = folder("own", "HIGGS.csv")
    assert find_higgs(folder("bare"), own_folder=own) is None
    with pytest.raises(UserError, match=r"no HIGGS in \S*bare: put HIGGS\.csv\.gz \(the UCI HIGGS"):
        locate_higgs(folder("bare"), own_folder=own)
    given = folder("given", "HIGGS.csv")
    source, path = locate_higgs(given, own_folder=own)
    assert source == "HIGGS.csv in the folder named by --data-dir"
    assert path == given / "HIGGS.csv"


def test_the_environment_comes_before_the_own_folder(folder, monkeypatch):
    own = folder("own", "HIGGS.csv")
    named = folder("named", "HIGGS.csv.gz")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    source, path = locate_higgs(own_folder=own)
    assert source == "HIGGS.csv.gz in the folder named by BACK_PROJECTION_DATASETS"
    assert path == find_higgs(own_folder=own) == named / "HIGGS.csv.gz"


def test_a_whole_file_anywhere_comes_before_a_sample(folder, monkeypatch):
    own = folder("own", "HIGGS.csv")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(folder("named", "HIGGS_sample.csv")))
    assert find_higgs(own_folder=own) == own / "HIGGS.csv"


@pytest.mark.parametrize("named", ["bare", "absent", ""])
def test_the_own_folder_comes_last(folder, tmp_path, monkeypatch, named):
    folder("bare")
    own = folder("own", "HIGGS.csv.gz")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", named and str(tmp_path / named))
    assert locate_higgs(own_folder=own) == ("HIGGS.csv.gz in datasets/", own / "HIGGS.csv.gz")


def test_where_there_is_none_one_line_names_the_folders_and_the_remedy(folder, monkeypatch):
    named, own = folder("named"), folder("own")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    assert find_higgs(own_folder=own) is None
    with pytest.raises(UserError) as failure:
        locate_higgs(own_folder=own)
    message = str(failure.value)
    assert f"no HIGGS in {named} or {own}: put HIGGS.csv.gz" in message
    assert "\n" not in message
