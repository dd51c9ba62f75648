"""Names out of a bundle on every report page: they are text there, whatever they look like."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_page import Page
from msgspec.structs import replace
from reference_bundle import SIZE_HW, STRIDE, WEIGHT, check_frame, make_failed, make_manifest, make_variant

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from edge_vseg.bundle import stage_bundle
from edge_vseg.bundle.manifest import ClassIoU, FileSpec, Label, SourceSpec
from edge_vseg.errors import BundleFileError, ManifestError
from edge_vseg.runtimes.backends.reference import write_reference

Cli = Callable[..., Any]
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
CLOSING = "</title></style></svg><svg onload=alert(3)>"
AMPERSANDS = "&lt;b&gt; {{ 7 * 7 }} $\\frac{a}{b}$"
HOSTILE = (SCRIPT, IMAGE, CLOSING, AMPERSANDS)


def labels() -> tuple[Label, ...]:
    return tuple(Label(id=i, name=name, color=(40 * i, 200, 100)) for i, name in enumerate((SCRIPT, IMAGE, CLOSING)))


def hostile_variant(variant_id: str) -> Any:
    safe = "reference/float/graph.npz"
    parity = make_variant().parity
    assert parity is not None
    iou = tuple(ClassIoU(name=name, iou=0.5) for name in (SCRIPT, IMAGE, CLOSING))
    return make_variant(
        variant_id,
        entry=safe,
        files=(safe,),
        reason=SCRIPT,
        recipe=IMAGE,
        status="drop",
        unsliced=CLOSING,
        untiled=SCRIPT,
        parity=replace(parity, iou=iou, worst_agreement=0.5, pixel_agreement=0.9),
    )


@pytest.fixture(scope="module")
def hostile_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2

    root = tmp_path_factory.mktemp("hostile") / "<b>&amp;'\".evseg"
    variant = hostile_variant(f"reference/{IMAGE}")
    with stage_bundle(root) as staging:
        graph = staging.root / variant.entry
        graph.parent.mkdir(parents=True)
        write_reference(graph, WEIGHT, np.zeros(3, np.float32), STRIDE)
        (staging.root / "check").mkdir()
        for name, picture in (("frame", check_frame()), ("labels", np.zeros(SIZE_HW, np.uint8))):
            (staging.root / f"check/{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        base = make_manifest(
            variant,
            name=SCRIPT,
            labels=labels(),
            source=SourceSpec(name=IMAGE, kind="reference", sha256="0" * 64, output=CLOSING),
            failed=(make_failed(f"{SCRIPT}/int8", CLOSING),),
            made_with={SCRIPT: IMAGE},
            made_on={"cpu": CLOSING, IMAGE: SCRIPT},
            files=staging.list_files(),
        )
        staging.commit(base)
    return root


@pytest.fixture(scope="module")
def hostile_clip(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(clip, tmp_path_factory.mktemp("clips") / '<img src=x onerror=alert(4)>&".mp4'))


def read(path: Path) -> Page:
    """The page as a browser sees it; a script, a handler or a tag too many fails."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("title") == page.tags.count("style") == page.tags.count("body") == 1
    assert all("script" not in tag for tag in page.tags)
    return page


def test_the_page_of_an_export(tmp_path: Path) -> None:
    from edge_vseg.export.export_report import write_report
    from edge_vseg.export.variant_validation import ValidatedVariant

    variants = (hostile_variant("reference/float"), hostile_variant(f"reference/{IMAGE}"))
    manifest = make_manifest(
        *variants,
        name=SCRIPT,
        labels=labels(),
        source=SourceSpec(name=IMAGE, kind="reference", sha256="0" * 64, output=CLOSING),
        failed=(make_failed(f"{SCRIPT}/int8", AMPERSANDS),),
        made_with={SCRIPT: IMAGE},
        made_on={"cpu": CLOSING, IMAGE: SCRIPT},
        files={path: FileSpec(bytes=1, sha256="0" * 64) for each in variants for path in each.files},
    )
    frames = [check_frame() for _ in range(3)]
    baseline = [np.zeros(SIZE_HW, np.uint8) for _ in frames]
    validated = [ValidatedVariant(variant=each, worst=np.full(SIZE_HW, 2, np.uint8)) for each in variants]
    write_report(tmp_path / "report.html", manifest, frames, baseline, validated, warning=SCRIPT)
    page = read(tmp_path / "report.html")
    assert all(name in page.text for name in HOSTILE)
    assert page.headings[0] == SCRIPT


def test_the_page_of_a_profile(cli: Cli, hostile_bundle: Path, hostile_clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    html = tmp_path / "p.html"
    asked = ("--runtime", "reference", "--flat-out", "--seconds", 0.2, "--html", html, "--plots", tmp_path / "plots")
    shown = cli("profile", hostile_bundle, hostile_clip, *asked)
    assert shown.code == 0, shown.err
    page = read(html)
    assert all(text in page.text for text in (IMAGE, hostile_bundle.name, hostile_clip.name))
    assert all(path.parent == tmp_path / "plots" for path in (tmp_path / "plots").rglob("*"))


def test_the_page_of_an_evaluation(cli: Cli, hostile_bundle: Path, hostile_clip: Path, tmp_path: Path) -> None:
    html = tmp_path / "e.html"
    asked = ("--video", hostile_clip, "--runtime", "reference", "--policy", "fixed", "--html", html)
    shown = cli("evaluate", hostile_bundle, *asked, "--plots", tmp_path / "plots")
    assert shown.code == 0, shown.err
    page = read(html)
    assert all(text in page.text for text in (IMAGE, hostile_bundle.name, hostile_clip.name))
    assert all(path.parent == tmp_path / "plots" for path in (tmp_path / "plots").rglob("*"))


def test_the_page_of_a_family(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from edge_vseg.export.shrinking.family import Family, Member, MemberScore, write_family

    members = tuple(
        MemberScore(
            member=Member(name=name, how=how, bundle=IMAGE, size_hw=(48, 64), macs=10**9, parameters=10**6),
            ms=ms,
            agreement=0.9,
            worst_agreement=0.8,
        )
        for name, how, ms in ((CLOSING, "whole", 20.0), (SCRIPT, "cut", 10.0))
    )
    family = Family(
        source=IMAGE, target_ms=9.0, network_ms=20.0, machine=CLOSING, rounds=(), members=members, notes=(SCRIPT,)
    )
    write_family(tmp_path, family)
    assert SCRIPT in read(tmp_path / "report.html").text


def test_the_live_page_writes_text_and_never_markup() -> None:
    from importlib.resources import files

    scripts = [part for part in files("edge_vseg.serve").joinpath("page").iterdir() if part.name.endswith(".js")]
    assert len(scripts) > 3
    markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|\beval\(")
    assert [part.name for part in scripts if markup.search(part.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/passwd", "a/../../out", "a//b", "./a", "a/.", "C:x", "a\\b", "a\nb", "", "a/\x00"]
)
def test_files_of_a_bundle_stay_in_it(name: str) -> None:
    with pytest.raises((ValueError, ManifestError)):
        make_manifest(files={name: FileSpec(bytes=1, sha256="0" * 64)})


def test_a_link_out_of_a_bundle_is_not_followed(reference_bundle: Path, tmp_path: Path) -> None:
    from edge_vseg import open_bundle

    graph = reference_bundle / "reference/float/graph.npz"
    shutil.move(graph, tmp_path / "elsewhere.npz")
    graph.symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(BundleFileError, match="outside the bundle"):
        open_bundle(reference_bundle)
