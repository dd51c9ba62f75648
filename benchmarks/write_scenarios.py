"""The commands that ``write_faults.py`` attacks: what was there before, what they do, and what a whole result is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from reference_bundle import Recipe, write_bundle

from edge_vseg.bundle import check_target, open_bundle
from edge_vseg.cli import main as command_line
from edge_vseg.files import write_whole
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.recording import McapWriter
from edge_vseg.runtimes.selection.cache import CachedChoice, CachedTiming, read_choice, write_choice
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile, read_device_profile, write_device_profile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.video import VideoWriter

OLD = b"of an earlier run"
PAGES = ("matplotlib.backends.backend_agg", "jinja2", "psutil", "edge_vseg.analysis.profiling.profile_page")
FRAMES, SIZE_HW = 6, (48, 64)
INPUTS = "inputs"
Check = Callable[[Path], object]
"""Raises if a result is not whole."""


def _nothing(folder: Path) -> None:
    """Nothing is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command, or the part of one that writes.

    Attributes:
        name: Of the command.
        act: What it does in a folder.
        outputs: What it writes in the folder, and what a whole one is; a slash at the end is a folder of files.
        inputs: Makes what it reads, in the folder ``inputs``.
        older: Makes an older result; by default a file with :data:`OLD` at each output that is a file.
        fresh: Whether there is no older result.
        quick: Whether a case takes milliseconds.
        exchange: Whether the file system can exchange two names.
        may_do_without: Whether a result that cannot be written is a warning.
        keeps: Whether it leaves what it has written, and says so.
        prints: Whether the result is standard output.
        recover: What the next run begins with, where a kill may leave the old result under another name.
        imports: What each case would import again.
        also_named: What an error may name instead of an output.
    """

    name: str
    act: Callable[[Path], object]
    outputs: Mapping[str, Check]
    inputs: Callable[[Path], object] = _nothing
    older: Callable[[Path], object] | None = None
    fresh: bool = False
    quick: bool = True
    exchange: bool = True
    may_do_without: bool = False
    keeps: bool = False
    prints: bool = False
    recover: Callable[[Path], object] = _nothing
    imports: tuple[str, ...] = ()
    also_named: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """What an error may name."""
        return (*(name.rstrip("/").rpartition("/")[2] for name in self.outputs), *self.also_named)

    def prepare(self, folder: Path) -> None:
        """Make what is there before."""
        (folder / INPUTS).mkdir()
        self.inputs(folder / INPUTS)
        if self.fresh:
            return
        if self.older is not None:
            self.older(folder)
            return
        for name in self.outputs:
            if not name.endswith("/"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(OLD)

    def make_way(self, folder: Path) -> None:
        """Remove folders that must be new."""
        for name in self.outputs:
            if name.endswith("/"):
                shutil.rmtree(folder / name, ignore_errors=True)

    def stdout(self, folder: Path) -> Path | None:
        """Where it prints."""
        return folder / next(iter(self.outputs)) if self.prints else None

    def expected(self, folder: Path) -> set[str]:
        """Names that may be in the folder."""
        return {INPUTS, *(name.partition("/")[0] for name in self.outputs)}

    def state(self, folder: Path) -> dict[str, str]:
        """Of each output ``old``, ``new``, or what is wrong with it."""
        return {name: self._state(folder, name, check) for name, check in self.outputs.items()}

    def _state(self, folder: Path, name: str, check: Check) -> str:
        path = folder / name
        if not path.exists():
            return "old" if self.fresh or self.prints or name.endswith("/") else "gone"
        try:
            if path.is_file() and path.read_bytes() == OLD:
                return "old"
            found = check(path)
        except Exception as exc:
            return "old" if self.prints else f"{type(exc).__name__}: {exc}"
        return "old" if found == "old" else "new"


def scenarios() -> list[Scenario]:
    """All of them."""
    return [
        Scenario(name="file", act=_write_figures, outputs={"figures.json": _figures}),
        *_bundles(),
        Scenario(name="video", act=_video, outputs={"over.mp4": _whole_video}),
        Scenario(name="video, Matroska", act=_matroska, outputs={"over.mkv": _whole_video}, fresh=True),
        Scenario(name="recording", act=_mcap, outputs={"out.mcap": _whole_mcap}, keeps=True),
        Scenario(name="calibrate", act=_profile, outputs={"street.evseg.calibration/here.json": read_device_profile}),
        Scenario(name="runtime cache", act=_cache, outputs={"cache/auto.json": _cached}, may_do_without=True),
        *_commands(),
        *_exports(),
    ]


FIGURES = json.dumps(list(range(40_000))).encode()


def _write_figures(folder: Path) -> None:
    write_whole(folder / "figures.json", FIGURES)


def _figures(path: Path) -> None:
    assert path.read_bytes() == FIGURES


def _bundles() -> list[Scenario]:
    def older(folder: Path) -> None:
        write_bundle(folder / "street.evseg", Recipe(name="older"))

    def act(folder: Path) -> None:
        write_bundle(folder / "street.evseg", Recipe(name="newer"))

    outputs = {"street.evseg": _whole_bundle}
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


def _whole_bundle(path: Path) -> str:
    opened = open_bundle(path)
    for name in opened.manifest.files:
        opened.file(name)
    files = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert files == {*opened.manifest.files, "manifest.json"}, files
    for name in ("check/frame.png", "check/labels.png"):
        assert cv2.imread(str(path / name), cv2.IMREAD_UNCHANGED) is not None, name
    return "old" if opened.manifest.name == "older" else "new"


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


def _whole_video(path: Path) -> None:
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == FRAMES, f"{frames} frames"


def _mcap(folder: Path) -> None:
    rng = np.random.default_rng(4)
    with McapWriter(folder / "out.mcap") as writer:
        for number in range(5):
            noise = rng.integers(0, 256, (500, 1024), np.uint8)
            header = ros.Header(stamp=ros.Time.from_ns(number + 1), frame_id="front")
            writer.write("/noise", raw_image(noise, "mono8", header), number + 1)


def _whole_mcap(path: Path) -> None:
    from mcap.reader import make_reader

    with path.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None, "no index"
        assert summary.statistics is not None
        assert sum(1 for _ in reader.iter_messages()) == summary.statistics.message_count > 0


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


def _cached(path: Path) -> None:
    assert read_choice(path, "key") is not None


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


def _json(path: Path) -> None:
    json.loads(path.read_bytes())


def _html(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _maps(folder: Path) -> str:
    """Each file of a folder must be whole; all of them are the result."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in paths:
        match path.suffix:
            case ".png":
                assert cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED) is not None, path
            case ".npz":
                with np.load(path) as arrays:
                    assert set(arrays) == {"motion", "occluded"}
    return "new" if len({path.stem for path in paths}) >= FRAMES else "old"


def _unit(path: Path) -> str:
    text = path.read_text()
    assert text.rstrip().endswith("WantedBy=multi-user.target")
    return "new" if "987" in text else "old"


def _secrets(path: Path) -> str:
    return {"0123456789abcdef": "new", "fedcba9876543210": "old"}[path.read_text().strip().partition("=")[2].strip('"')]


def _plots(folder: Path) -> str:
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in paths:
        assert cv2.imread(str(path)) is not None, path
    return "new" if paths else "old"


def _commands() -> list[Scenario]:
    bundle, clip, numpy = "@/inputs/street.evseg", "@/inputs/clip.mp4", ("--runtime", "reference")
    results = ("-o", "@/over.mp4", "--labels-out", "@/labels", "--stats", "@/stats.json", "--force")
    quick_run = ("--seconds", "0.2", "--flat-out", "--no-operators", "--force")
    return [
        Scenario(
            name="run",
            act=_cli("run", bundle, clip, *numpy, *results),
            outputs={"over.mp4": _whole_video, "labels/": _maps, "stats.json": _json},
            inputs=_bundle_and_clip,
        ),
        Scenario(
            name="record",
            act=_cli("record", bundle, clip, "@/out.mcap", *numpy, "--force"),
            outputs={"out.mcap": _whole_mcap},
            inputs=_bundle_and_clip,
            keeps=True,
        ),
        Scenario(
            name="profile",
            act=_cli("profile", bundle, clip, *numpy, *quick_run, "--json", "@/p.json"),
            outputs={"p.json": _json},
            inputs=_bundle_and_clip,
        ),
        Scenario(
            name="profile, page",
            act=_cli("profile", bundle, clip, *numpy, *quick_run, "--html", "@/p.html", "--plots", "@/plots"),
            outputs={"p.html": _html, "plots/": _plots},
            inputs=_bundle_and_clip,
            also_named=(".png",),
            quick=False,
            imports=PAGES,
        ),
        Scenario(
            name="evaluate, page",
            act=_cli("evaluate", bundle, "--video", clip, *numpy, "--html", "@/e.html", "--force"),
            outputs={"e.html": _html},
            inputs=_bundle_and_clip,
            quick=False,
            imports=PAGES,
        ),
        Scenario(
            name="evaluate, printed",
            act=_cli("evaluate", bundle, "--video", clip, *numpy, "--json"),
            outputs={"out.json": _json},
            inputs=_bundle_and_clip,
            prints=True,
            also_named=("standard output",),
        ),
        Scenario(
            name="compare",
            act=_cli("compare", "@/inputs/p.json", "@/inputs/p.json", "--json"),
            outputs={"out.json": _json},
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
            outputs={"units/edge-vseg.service": _unit, "units/edge-vseg.env": _secrets},
            inputs=_bundle_and_clip,
            older=_older_service,
        ),
        Scenario(
            name="render",
            act=_cli("render", "@/over.mp4", "--truth", "@/truth", "--frames", "6", "--size", "48x64", "--force"),
            outputs={"over.mp4": _whole_video, "truth/": _maps},
            quick=False,
        ),
    ]


def _two_profiles(inputs: Path) -> None:
    _bundle_and_clip(inputs)
    words = ("--runtime", "reference", "--seconds", "0.2", "--flat-out", "--no-operators", "--json", "@/p.json")
    try:
        _cli("profile", "@/street.evseg", "@/clip.mp4", *words)(inputs)
    except SystemExit as exc:
        if exc.code:
            raise


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
            outputs={"street.evseg": _whole_bundle},
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
            outputs={"work/steps/float.json": _json},
            fresh=True,
            quick=False,
            imports=("edge_vseg.export.pipeline.job",),
            also_named=("work",),
        ),
        Scenario(
            name="shrink",
            act=_family,
            outputs={"family/family.json": _json, "family/report.html": _html},
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
