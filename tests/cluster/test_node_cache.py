"""Inputs by their content: what they hold, and how they are written on a node."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edge_vseg.cluster.contents import Contents, HashedFile, contents_of, holds
from edge_vseg.cluster.node_cache import node_cache_folder, place_input
from edge_vseg.errors import ClusterError, OptionError

A, B = b"abc" * 1000, b""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "street.evseg/deep").mkdir(parents=True)
    (tmp_path / "street.evseg/deep/graph.onnx").write_bytes(A)
    (tmp_path / "street.evseg/manifest.json").write_bytes(B)
    return tmp_path / "street.evseg"


def blocks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_a_folder_is_its_names_and_contents(folder: Path) -> None:
    passed: list[bytes] = []
    found = contents_of(folder, passed.append)
    assert found.name == "street.evseg"
    assert [(file.name, file.size, file.sha256) for file in found.files] == [
        ("deep/graph.onnx", 3000, hashlib.sha256(A).hexdigest()),
        ("manifest.json", 0, hashlib.sha256(B).hexdigest()),
    ]
    assert b"".join(passed) == A + B
    before = found.sha256
    (folder / "deep/graph.onnx").rename(folder / "deep/other.onnx")
    assert contents_of(folder).sha256 != before
    (folder / "deep/other.onnx").rename(folder / "deep/graph.onnx")
    assert contents_of(folder.rename(folder.with_name("moved"))).sha256 == before


def test_a_file_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(A)
    found = contents_of(tmp_path / "a.mp4")
    assert (found.sha256, found.name, found.is_folder) == (hashlib.sha256(A).hexdigest(), "a.mp4", False)
    assert contents_of((tmp_path / "a.mp4").rename(tmp_path / "b.mp4")).sha256 == found.sha256


@pytest.mark.parametrize("size", [1, 7, 2999, 3000, 5000])
def test_a_folder_is_written_from_blocks_of_any_size(size: int, folder: Path, tmp_path: Path) -> None:
    contents = contents_of(folder)
    placed = place_input(contents, blocks(A + B, size), tmp_path / "cache")
    assert placed.name == "street.evseg"
    assert (placed / "deep/graph.onnx").read_bytes() == A
    assert (placed / "manifest.json").read_bytes() == B
    assert place_input(contents, iter(()), tmp_path / "cache") == placed, "nothing is fetched again"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [placed.parent.name]


def test_what_is_damaged_is_written_again(folder: Path, tmp_path: Path) -> None:
    contents = contents_of(folder)
    placed = place_input(contents, [A], tmp_path / "cache")
    (placed / "deep/graph.onnx").write_bytes(A[:-1] + b"x")
    assert not holds(placed, contents)
    assert place_input(contents, [A], tmp_path / "cache") == placed
    assert (placed / "deep/graph.onnx").read_bytes() == A
    (placed / "more.bin").touch()
    assert not holds(placed, contents), "a file more is not the same folder"
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("sent", [A[:-1], A[:-1] + b"x"], ids=["short", "other"])
def test_what_arrives_otherwise_is_refused(sent: bytes, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="did not arrive on this node as it was sent"):
        place_input(contents_of(folder), [sent], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "", "a\0b"])
def test_no_name_leads_out_of_the_cache(name: str, tmp_path: Path) -> None:
    file = HashedFile(name=name, size=len(A), sha256=hashlib.sha256(A).hexdigest())
    for contents in (
        Contents(name="street.evseg", is_folder=True, files=(file,)),
        Contents(name=name, is_folder=False, files=(file,)),
        Contents(name=name, is_folder=True, files=(replace(file, name="a"),)),
        Contents(name="clip.mp4", is_folder=False, files=(file,)),
    ):
        with pytest.raises(ValueError, match="is not"):
            place_input(contents, [A], tmp_path / "deep" / "cache")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_others_may_write_is_not_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(ClusterError, match="chmod 700"):
        place_input(contents_of(folder), [A], tmp_path / "cache")


def test_many_workers_write_the_same_input_at_once(folder: Path, tmp_path: Path) -> None:
    contents = contents_of(folder)
    with ThreadPoolExecutor(8) as pool:
        placed = list(pool.map(lambda _: place_input(contents, blocks(A, 100), tmp_path / "cache"), range(32)))
    assert len(set(placed)) == 1
    assert holds(placed[0], contents)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_input_that_cannot_travel_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        contents_of(tmp_path / "none")
    os.mkfifo(folder / "pipe")
    with pytest.raises(OptionError, match="pipe.*not a regular file"):
        contents_of(folder)
    (folder / "pipe").unlink()
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(OptionError, match="link to a folder"):
        contents_of(folder)


def test_the_cache_is_where_the_node_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert node_cache_folder() == tmp_path / "edge_vseg/cluster"
    monkeypatch.setenv("EDGE_VSEG_CLUSTER_CACHE", str(tmp_path / "x"))
    assert node_cache_folder() == tmp_path / "x"
    monkeypatch.setenv("EDGE_VSEG_CLUSTER_CACHE", "relative")
    with pytest.raises(ClusterError, match="EDGE_VSEG_CLUSTER_CACHE"):
        node_cache_folder()
