"""The commands that ``write_faults.py`` attacks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from reference_bundle import Recipe, write_bundle
from write_checks import (
    FIGURES,
    FRAMES,
    SIZE_HW,
    cached_choice,
    figures,
    html_page,
    json_document,
    map_files,
    plot_files,
    secrets_file,
    unit_file,
    whole_bundle,
    whole_labels,
    whole_mcap,
    whole_video,
)
from write_scenario import INPUTS, Scenario

from edge_vseg.analysis.label_propagation import CarriedLabels
from edge_vseg.analysis.label_propagation.labelled_folder import write_labelled_folder
from edge_vseg.bundle import check_target
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.cli import main as command_line
from edge_vseg.files import write_whole
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.recording import McapWriter
from edge_vseg.runtimes.selection.cache import CachedChoice, CachedTiming, write_choice
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile, read_device_profile, write_device_profile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.video import VideoWriter

PAGES = ("matplotlib.backends.backend_agg", "jinja2", "psutil", "edge_vseg.analysis.profiling.profile_page")


def scenarios() -> list[Scenario]:
    """All of them."""
    return [
        Scenario(name="file", act=_write_figures, outputs={"figures.json": figures}),
        *_bundles(),
        Scenario(name="video", act=_video, outputs={"over.mp4": whole_video}),
        Scenario(name="video, Matroska", act=_matroska, outputs={"over.mkv": whole_video}, fresh=True),
        Scenario(name="recording", act=_mcap, outputs={"out.mcap": whole_mcap}, keeps=True),
        Scenario(name="calibrate", act=_profile, outputs={"street.evseg.calibration/here.json": read_device_profile}),
        Scenario(name="runtime cache", act=_cache, outputs={"cache/auto.json": cached_choice}, may_do_without=True),
        *_commands(),
        *_exports(),
    ]


def _write_figures(folder: Path) -> None:
    write_whole(folder / "figures.json", FIGURES)


def _bundles() -> list[Scenario]:
    def older(folder: Path) -> None:
        write_bundle(folder / "street.evseg", Recipe(name="older"))

    def act(folder: Path) -> None:
        write_bundle(folder / "street.evseg", Recipe(name="newer"))

    outputs = {"street.evseg": whole_bundle}
    return [
        Scenario(name="bundle", act=act, outputs=outputs, older=older),
        Scenario(name="bundle, new", act=act, outputs=outputs, fresh=True),
        Scenario(
            name="bundle, renamed",
            act=act,
            outputs=outputs,
            older=older,
            exchange=False,
            recover=lambda folder: check_target(folder / "street.evseg"),
        ),
    ]


def _pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (*SIZE_HW, 3), np.uint8) for _ in range(FRAMES)]


def _write_video(path: Path) -> None:
    with VideoWriter(path, 30.0, SIZE_HW) as writer:
        for picture in _pictures():
            writer.write(picture)


def _video(folder: Path) -> None:
    _write_video(folder / "over.mp4")


def _matroska(folder: Path) -> None:
    _write_video(folder / "over.mkv")


def _mcap(folder: Path) -> None:
    rng = np.random.default_rng(4)
    with McapWriter(folder / "out.mcap") as writer:
        for number in range(5):
            noise = rng.integers(0, 256, (500, 1024), np.uint8)
            header = ros.Header(stamp=ros.Time.from_ns(number + 1), frame_id="front")
            writer.write("/noise", raw_image(noise, "mono8", header), number + 1)


def _profile(folder: Path) -> None:
    profile = DeviceProfile(
        bundle_sha256="0" * 64,
        variant="reference/float",
        machine="here",
        threads=1,
        runtime="numpy",
        video="drive.mp4",
        costs={"infer": Cost(runs=9, p50=1.0, p90=2.0, p99=3.0)},
        drift=DriftModel(bias=0.5),
    )
    write_device_profile(folder / "street.evseg.calibration" / "here.json", profile)


def _cache(folder: Path) -> None:
    table = (CachedTiming(variant_id="reference/float", median_ms=1.0),)
    write_choice(folder / "cache" / "auto.json", "key", CachedChoice(variant_id="reference/float", table=table))


def _cli(*words: str) -> Callable[[Path], None]:
    """A command line; ``@`` is the folder."""

    def act(folder: Path) -> None:
        os.environ["XDG_CACHE_HOME"] = str(folder.parent / "cache")
        sys.argv = ["edge-vseg", *(word.replace("@", str(folder)) for word in words)]
        command_line()

    return act


def _bundle_and_clip(inputs: Path) -> None:
    write_bundle(inputs / "street.evseg")
    _write_video(inputs / "clip.mp4")


def _commands() -> list[Scenario]:
    bundle, clip, numpy = "@/inputs/street.evseg", "@/inputs/clip.mp4", ("--runtime", "reference")
    results = ("-o", "@/over.mp4", "--labels-out", "@/labels", "--stats", "@/stats.json", "--force")
    quick_run = ("--seconds", "1", "--flat-out", "--no-operators", "--force")
    return [
        Scenario(
            name="run",
            act=_cli("run", bundle, clip, *numpy, *results),
            outputs={"over.mp4": whole_video, "labels/": map_files, "stats.json": json_document},
            inputs=_bundle_and_clip,
        ),
        Scenario(
            name="pseudo-label",
            act=_cli(
                "dataset", "pseudo-label", bundle, clip, "-o", "@/made", *numpy, "--max-uncertainty", "1", "--force"
            ),
            outputs={"made": whole_labels},
            inputs=_bundle_and_clip,
            older=_older_labels,
        ),
        Scenario(
            name="record",
            act=_cli("record", bundle, clip, "@/out.mcap", *numpy, "--force"),
            outputs={"out.mcap": whole_mcap},
            inputs=_bundle_and_clip,
            keeps=True,
        ),
        Scenario(
            name="profile",
            act=_cli("profile", bundle, clip, *numpy, *quick_run, "--json", "@/p.json"),
            outputs={"p.json": json_document},
            inputs=_bundle_and_clip,
        ),
        Scenario(
            name="profile, page",
            act=_cli("profile", bundle, clip, *numpy, *quick_run, "--html", "@/p.html", "--plots", "@/plots"),
            outputs={"p.html": html_page, "plots/": plot_files},
            inputs=_bundle_and_clip,
            also_named=(".png",),
            quick=False,
            imports=PAGES,
        ),
        Scenario(
            name="evaluate, page",
            act=_cli("evaluate", bundle, "--video", clip, *numpy, "--html", "@/e.html", "--force"),
            outputs={"e.html": html_page},
            inputs=_bundle_and_clip,
            quick=False,
            imports=PAGES,
        ),
        Scenario(
            name="evaluate, printed",
            act=_cli("evaluate", bundle, "--video", clip, *numpy, "--json"),
            outputs={"out.json": json_document},
            inputs=_bundle_and_clip,
            prints=True,
            also_named=("standard output",),
        ),
        Scenario(
            name="compare",
            act=_cli("compare", "@/inputs/p.json", "@/inputs/p.json", "--json"),
            outputs={"out.json": json_document},
            inputs=_two_profiles,
            prints=True,
            also_named=("standard output",),
        ),
        Scenario(
            name="install-service",
            act=_cli(
                *("install-service", bundle, "987", "--folder", "@/units", "--user", "nobody", "--force"),
                *("--token", "0123456789abcdef"),
            ),
            outputs={"units/edge-vseg.service": unit_file, "units/edge-vseg.env": secrets_file},
            inputs=_bundle_and_clip,
            older=_older_service,
        ),
        Scenario(
            name="render",
            act=_cli("render", "@/over.mp4", "--truth", "@/truth", "--frames", "6", "--size", "48x64", "--force"),
            outputs={"over.mp4": whole_video, "truth/": map_files},
            quick=False,
        ),
    ]


def _older_labels(folder: Path) -> None:
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    with write_labelled_folder(folder / "made", numbered_labels(2), None, force=False) as labels:
        labels.begin_clip("older")
        labels.add("", image, CarriedLabels.given(image[..., 0]))


def _two_profiles(inputs: Path) -> None:
    _bundle_and_clip(inputs)
    words = ("--runtime", "reference", "--seconds", "1", "--flat-out", "--no-operators", "--json", "@/p.json")
    try:
        _cli("profile", "@/street.evseg", "@/clip.mp4", *words)(inputs)
    except SystemExit as exc:
        if exc.code:
            raise
    shutil.rmtree(inputs.parent / "cache", ignore_errors=True)  # of this command, and no rest of the one under test


def _older_service(folder: Path) -> None:
    (folder / "units").mkdir()
    try:
        _cli(
            *("install-service", "@/inputs/street.evseg", "986", "--folder", "@/units"),
            *("--user", "nobody", "--token", "fedcba9876543210"),
        )(folder)
    except SystemExit as exc:
        if exc.code:
            raise


def _exports() -> list[Scenario]:
    return [
        Scenario(
            name="export",
            act=_export,
            outputs={"street.evseg": whole_bundle},
            inputs=_export_work,
            older=lambda folder: write_bundle(folder / "street.evseg", Recipe(name="older")),
            also_named=("work",),
            quick=False,
            imports=(
                "torch",
                "onnxruntime",
                "sliced_bundle",
                "edge_vseg.export.pipeline",
                "edge_vseg.export.reference.zoo",
            ),
        ),
        Scenario(
            name="export --work",
            act=_work,
            outputs={"work/steps/float.json": json_document},
            fresh=True,
            quick=False,
            imports=("edge_vseg.export.pipeline.job",),
            also_named=("work",),
        ),
        Scenario(
            name="shrink",
            act=_family,
            outputs={"family/family.json": json_document, "family/report.html": html_page},
            quick=False,
            imports=("edge_vseg.export.shrinking.family", "jinja2"),
        ),
    ]


def _export_to(bundle: Path, work: Path) -> None:
    from sliced_bundle import SIZE_HW as SIZE
    from sliced_bundle import street

    from edge_vseg.bundle.manifest import CalibrationSpec
    from edge_vseg.export import ExportOptions, SampleFrames, export_bundle

    options = ExportOptions(size_hw=SIZE, max_drop=1.0, precisions=("float",), runtimes=("onnxruntime",), slices=False)
    sample = SampleFrames(calibration=street(1, 2), validation=street(2, 1), spec=CalibrationSpec())
    export_bundle("edge_vseg.export.reference.zoo:small", bundle, sample, options, work_dir=work)


def _export_work(inputs: Path) -> None:
    _export_to(inputs / "spare.evseg", inputs / "work")


def _export(folder: Path) -> None:
    _export_to(folder / "street.evseg", folder / INPUTS / "work")


def _work(folder: Path) -> None:
    from edge_vseg.export.pipeline.job import full_disk_named
    from edge_vseg.export.pipeline.work_folder import WorkFolder

    with full_disk_named(folder / "work"):
        work = WorkFolder(folder / "work")
        (work.root / "graph.onnx").write_bytes(FIGURES)
        work.save("float", "key", {"nodes": 3}, [work.root / "graph.onnx"])


def _family(folder: Path) -> None:
    from edge_vseg.export.shrinking.family import Family, Member, MemberScore, write_family
    from edge_vseg.export.shrinking.netadapt import Round

    (folder / "family").mkdir(exist_ok=True)
    whole = Member(name="whole", how="whole", bundle="whole.evseg", size_hw=SIZE_HW, macs=None, parameters=None)
    cut = Round(group="a", layer="a", before=16, after=8, ms=1.0, loss=0.1)
    family = Family(
        source="small",
        target_ms=1.0,
        network_ms=2.0,
        machine="here",
        rounds=(cut,),
        members=(MemberScore(member=whole, ms=2.0, agreement=1.0, worst_agreement=1.0),),
        notes=(),
    )
    write_family(folder / "family", family)
