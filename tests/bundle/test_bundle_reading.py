"""Opening bundles: each kind of damage has its own error, at the earliest place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from reference_bundle import make_variant

from edge_vseg.bundle import open_bundle
from edge_vseg.errors import BundleError, BundleFileError, BundleNotFoundError, ManifestError, SchemaVersionError

GRAPH = "reference/float/graph.npz"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 99\n"


def test_whole_bundle(reference_bundle: Path) -> None:
    bundle = open_bundle(str(reference_bundle))
    assert bundle.root == reference_bundle
    assert sorted(bundle.manifest.files) == ["check/frame.png", "check/labels.png", GRAPH]
    for relative in bundle.manifest.files:
        assert bundle.file(relative) == reference_bundle / relative
    assert bundle.entry(bundle.manifest.variants[0]) == reference_bundle / GRAPH


def test_hash_names_the_bundle(reference_bundle: Path) -> None:
    before = open_bundle(reference_bundle).sha256
    assert open_bundle(reference_bundle).sha256 == before
    manifest = reference_bundle / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert open_bundle(reference_bundle).sha256 != before


def drop_folder(root: Path) -> None:
    shutil.rmtree(root)


def become_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_bytes(b"x")


def drop_manifest(root: Path) -> None:
    (root / "manifest.json").unlink()


def write_manifest(data: bytes) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        (root / "manifest.json").write_bytes(data)

    return damage


def cut_manifest(root: Path) -> None:
    data = (root / "manifest.json").read_bytes()
    (root / "manifest.json").write_bytes(data[: len(data) // 2])


def newer_manifest(root: Path) -> None:
    tree = json.loads((root / "manifest.json").read_bytes()) | {"schema_version": 7}
    (root / "manifest.json").write_text(json.dumps(tree))


def manifest_folder(root: Path) -> None:
    (root / "manifest.json").unlink()
    (root / "manifest.json").mkdir()


def manifest_pipe(root: Path) -> None:
    (root / "manifest.json").unlink()
    os.mkfifo(root / "manifest.json")


def manifest_device(root: Path) -> None:
    (root / "manifest.json").unlink()
    (root / "manifest.json").symlink_to("/dev/zero")


def manifest_huge(root: Path) -> None:
    os.truncate(root / "manifest.json", 1 << 40)


def graph_pipe(root: Path) -> None:
    (root / GRAPH).unlink()
    os.mkfifo(root / GRAPH)


def drop_graph(root: Path) -> None:
    (root / GRAPH).unlink()


def graph_folder(root: Path) -> None:
    (root / GRAPH).unlink()
    (root / GRAPH).mkdir()


def longer_graph(root: Path) -> None:
    with (root / GRAPH).open("ab") as file:
        file.write(b"\0")


def empty_graph(root: Path) -> None:
    (root / GRAPH).write_bytes(b"")


def lfs_graph(root: Path) -> None:
    (root / GRAPH).write_bytes(LFS)


def outside_link(root: Path) -> None:
    outside = root.parent / "outside.npz"
    (root / GRAPH).rename(outside)
    (root / GRAPH).symlink_to(outside)


def outside_folder_link(root: Path) -> None:
    (root / "reference").rename(root.parent / "elsewhere")
    (root / "reference").symlink_to(root.parent / "elsewhere")


def circular_link(root: Path) -> None:
    (root / GRAPH).unlink()
    (root / GRAPH).symlink_to(root / GRAPH)


def long_name(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(path.read_text().replace(GRAPH, "a" * 300))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (drop_folder, BundleNotFoundError, "make one with `edge-vseg export"),
        (
            become_file,
            BundleNotFoundError,
            "is a file; expected a bundle, a directory with manifest.json; check the path",
        ),
        (drop_manifest, BundleNotFoundError, "it has no manifest.json"),
        (write_manifest(b""), ManifestError, "not a valid manifest"),
        (write_manifest(LFS), BundleFileError, "Git LFS pointer.*git lfs pull"),
        (cut_manifest, ManifestError, "not a valid manifest"),
        (newer_manifest, SchemaVersionError, "schema version 7"),
        (manifest_folder, BundleFileError, "cannot be read: Is a directory"),
        (manifest_pipe, BundleFileError, "not a regular file"),
        (manifest_device, BundleFileError, "not a regular file"),
        (manifest_huge, BundleFileError, "more than 67108864 bytes"),
        (graph_pipe, BundleFileError, "graph.npz is missing"),
        (drop_graph, BundleFileError, "graph.npz is missing"),
        (graph_folder, BundleFileError, "graph.npz is missing"),
        (longer_graph, BundleFileError, r"has \d+ bytes, the manifest says \d+"),
        (empty_graph, BundleFileError, "has 0 bytes, the manifest says"),
        (lfs_graph, BundleFileError, "Git LFS pointer: run `git lfs pull`"),
        (outside_link, BundleFileError, "points outside the bundle"),
        (outside_folder_link, BundleFileError, "points outside the bundle"),
        (circular_link, BundleFileError, "graph.npz"),
        (long_name, BundleFileError, "cannot be resolved"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damage(damage: Callable[[Path], None], error: type[BundleError], message: str, reference_bundle: Path) -> None:
    damage(reference_bundle)
    with pytest.raises(error, match=message) as caught:
        open_bundle(reference_bundle)
    assert type(caught.value) is error
    assert str(reference_bundle) in str(caught.value)


def test_links_inside_and_to_the_bundle_are_fine(reference_bundle: Path) -> None:
    (reference_bundle / GRAPH).rename(reference_bundle / "moved.npz")
    (reference_bundle / GRAPH).symlink_to("../../moved.npz")
    alias = reference_bundle.with_name("alias.evseg")
    alias.symlink_to(reference_bundle)
    assert open_bundle(alias).file(GRAPH).is_file()


@pytest.mark.parametrize("position", [0, 100, -1])
def test_flipped_bit_is_found_on_use(position: int, reference_bundle: Path) -> None:
    data = bytearray((reference_bundle / GRAPH).read_bytes())
    data[position] ^= 4
    (reference_bundle / GRAPH).write_bytes(data)
    bundle = open_bundle(reference_bundle)
    bundle.file("check/frame.png")
    with pytest.raises(BundleFileError, match=r"graph\.npz is not the file"):
        bundle.file(GRAPH)
    with pytest.raises(BundleFileError, match="SHA-256 differs"):
        bundle.entry(bundle.manifest.variants[0])


def test_swapped_for_a_link_after_opening(reference_bundle: Path) -> None:
    bundle = open_bundle(reference_bundle)
    outside_link(reference_bundle)
    with pytest.raises(BundleFileError, match="points outside"):
        bundle.file(GRAPH)


def test_removed_after_opening(reference_bundle: Path) -> None:
    bundle = open_bundle(reference_bundle)
    drop_graph(reference_bundle)
    with pytest.raises(BundleFileError, match="cannot be read"):
        bundle.file(GRAPH)


def test_unknown_file(reference_bundle: Path) -> None:
    bundle = open_bundle(reference_bundle)
    (reference_bundle / "other.npz").write_bytes(b"x")
    for name in ("other.npz", "../reference.evseg/" + GRAPH, "manifest.json"):
        with pytest.raises(BundleFileError, match="is not a file of bundle"):
            bundle.file(name)


def test_all_files_of_a_variant_are_checked(reference_bundle: Path) -> None:
    bundle = open_bundle(reference_bundle)
    both = make_variant(files=(GRAPH, "check/labels.png"))
    assert bundle.entry(both).name == "graph.npz"
    (reference_bundle / "check/labels.png").write_bytes(b"x")
    with pytest.raises(BundleFileError, match=r"labels\.png"):
        bundle.entry(both)


def test_a_network_is_not_a_bundle_yet(tmp_path: Path) -> None:
    (tmp_path / "street.onnx").write_bytes(b"x")
    with pytest.raises(BundleNotFoundError, match=r"`edge-vseg export \S+street.onnx -o street.evseg --frames VIDEO`"):
        open_bundle(tmp_path / "street.onnx")
