from __future__ import annotations

import importlib
import itertools
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_network import ASSETS, installed, manifest, variant, write_blocks

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import FailedVariant, Manifest, Slice, Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.selection import schedule_need
from edge_vseg.runtimes.selection.auto import REJECTED_AT_EXPORT, Choice, choose_variant
from edge_vseg.runtimes.selection.cache import (
    MAX_ENTRIES,
    CachedChoice,
    CachedTiming,
    default_cache_path,
    read_choice,
    write_choice,
)
from edge_vseg.runtimes.selection.group_timing import time_group
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed

# A third party's runtime on a clock of its own: its graph file holds the milliseconds that a run takes.
PACED = """
from edge_vseg.errors import SessionError

now = 0
opened = []
VERSION = "1"

class Session:
    provider = "cpu"
    def __init__(self, path, spec):
        self.path, self.spec, self.ms = path, spec, float(path.read_text())
        opened.append(path.parent.name)
    def run(self, inputs):
        global now
        assert list(inputs) == [self.spec.input.name]
        if self.ms < 0:
            raise SessionError("the graph fell over")
        now += int(self.ms * 1e6)
        return {}
    def close(self):
        opened.append("-" + self.path.parent.name)

class Plugin:
    name, extra = "paced", ""
    def version(self):
        return "paced " + VERSION
    def providers(self):
        return ("cpu",)
    def open(self, path, spec, options):
        return Session(path, spec)
"""

BUNDLE_HASH = "a" * 64


@pytest.fixture
def paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the paced runtime, installed as a third party's package."""
    site = tmp_path / "site"
    info = site / "plugin_paced-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "plugin_paced.py").write_text(PACED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin_paced\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_vseg.runtimes]\npaced = plugin_paced:Plugin\n")
    monkeypatch.syspath_prepend(site)
    yield importlib.import_module("plugin_paced")
    del sys.modules["plugin_paced"]


def pace(root: Path, variant_id: str, ms: float, **more: object) -> Variant:
    """A variant of the paced runtime, written to disk."""
    folder = root / variant_id
    folder.mkdir(parents=True)
    made = variant(variant_id, "paced", **more)
    (root / made.entry).write_text(str(ms))
    return made


def choose(paced: Any, bundle: Manifest, root: Path, **more: Any) -> Choice:
    arguments: dict[str, Any] = {"options": SessionOptions(), "clock": lambda: paced.now, "rounds": 3} | more
    sha256 = arguments.pop("bundle_hash", BUNDLE_HASH)
    return choose_variant(Bundle(root=root, manifest=bundle, sha256=sha256), **arguments)


def test_fastest_variant_is_chosen(paced: Any, tmp_path: Path) -> None:
    bundle = manifest(
        pace(tmp_path, "float", 20),
        pace(tmp_path, "int8", 12, precision="int8"),
        pace(tmp_path, "broken", -1),
        variant("elsewhere", "no-such-runtime"),
        failed=(FailedVariant(id="failed", runtime="paced", precision="float", target="any", reason="Einsum"),),
    )
    choice = choose(paced, bundle, tmp_path)
    assert choice.variant.id == "int8"
    assert choice.origin == "measured"
    assert [(t.variant_id, t.median_ms) for t in choice.table] == [
        ("float", 20),
        ("int8", 12),
        ("broken", None),
        ("elsewhere", None),
        ("failed", None),
    ]
    reasons = {t.variant_id: t.reason for t in choice.table}
    assert reasons["broken"] == "the graph fell over"
    assert "known runtimes: onnxruntime" in reasons["elsewhere"]
    assert reasons["failed"] == "its export failed: Einsum"
    assert choice.summary == "int8 (12.0 ms), fastest of 2 timed just now"


def test_float_wins_where_int8_is_slower(paced: Any, tmp_path: Path) -> None:
    slow = pace(tmp_path, "int8", 30, precision="int8", status="slower-than-float")
    bundle = manifest(slow, pace(tmp_path, "float", 20))
    assert choose(paced, bundle, tmp_path).variant.id == "float"
    assert choose(paced, bundle, tmp_path, precision="int8").variant.id == "int8"


@pytest.mark.parametrize("need", [ScheduleNeed(), ScheduleNeed(parts="any", deadline_ms=10), ScheduleNeed(parts="any")])
@pytest.mark.parametrize("status", ["ok", "slower-than-float", "slower-than-asked"])
def test_int8_slower_than_float_is_never_opened(paced: Any, tmp_path: Path, status: str, need: ScheduleNeed) -> None:
    """Whatever the export measured elsewhere, and whatever the schedule needs that both have."""
    int8 = pace(tmp_path, "int8", 20.4, precision="int8", status=status)
    bundle = manifest(int8, pace(tmp_path, "float", 20))
    assert choose(paced, bundle, tmp_path, need=need).variant.id == "float"
    faster = manifest(pace(tmp_path, "quick", 19, precision="int8", status=status), pace(tmp_path, "whole", 20))
    assert choose(paced, faster, tmp_path, need=need).variant.id == "quick"


@pytest.mark.parametrize(
    ("float_ms", "half_ms", "expected"),
    [
        pytest.param(20, 12, "float16", id="faster"),
        pytest.param(20, 19.8, "float", id="no faster but for noise"),
        pytest.param(20, 30, "float", id="slower"),
    ],
)
def test_float16_must_be_faster_than_float(
    paced: Any, tmp_path: Path, float_ms: float, half_ms: float, expected: str
) -> None:
    half = pace(tmp_path, "float16", half_ms, precision="float16")
    whole = pace(tmp_path, "float", float_ms)
    bundle = manifest(half, whole)
    choice = choose(paced, bundle, tmp_path)
    assert choice.variant.id == expected
    assert "fastest of" in choice.summary
    assert choose(paced, bundle, tmp_path, precision="float16").variant.id == "float16", "asked for by name"
    assert choose(paced, manifest(half), tmp_path).variant.id == "float16", "nothing else is there"


def test_a_network_of_seconds_a_frame_is_not_refused(paced: Any, tmp_path: Path) -> None:
    bundle = manifest(pace(tmp_path, "float", 9000), pace(tmp_path, "int8", 5000, precision="int8"))
    begin_ns = paced.now
    choice = choose(paced, bundle, tmp_path, rounds=15)
    assert (choice.variant.id, (paced.now - begin_ns) / 1e9) == ("int8", 56.0)
    far = choose(paced, manifest(pace(tmp_path, "far", 300_000)), tmp_path)
    assert far.summary == "far (300000.0 ms), fastest of 1 timed just now"


@pytest.mark.parametrize(("seconds", "runs"), [(19.0, 1), (36.0, 3), (999.0, 5)])
def test_timing_ends_before_its_child_is_stopped(paced: Any, tmp_path: Path, seconds: float, runs: int) -> None:
    slow, begin_ns = pace(tmp_path, "slow", 9000 if seconds < 999 else 900), paced.now
    options = {slow.id: SessionOptions()}
    rows = time_group([slow], options, root=tmp_path, rounds=3, seconds=seconds, clock=lambda: paced.now)
    assert rows["slow"].median_ms is not None
    assert paced.now - begin_ns == runs * 1e6 * rows["slow"].median_ms


def test_float16_with_parts_that_float_lacks_is_kept(paced: Any, tmp_path: Path) -> None:
    half = pace(tmp_path, "float16", 22, precision="float16")
    part = Slice(entry=half.entry, inputs=(half.input,), outputs=(half.output,))
    bundle = manifest(msgspec.structs.replace(half, slices=(part,)), pace(tmp_path, "float", 20))
    assert choose(paced, bundle, tmp_path, need=ScheduleNeed(parts="slices")).variant.id == "float16"
    assert choose(paced, bundle, tmp_path).variant.id == "float"


def scheduled(root: Path, whole_ms: float, sliced_ms: float) -> Manifest:
    """A variant without slices, and one in three, the second of which is its context."""
    whole, cut = pace(root, "whole", whole_ms), pace(root, "sliced", sliced_ms, precision="int8")
    tensors = [cut.input, *(msgspec.structs.replace(cut.output, name=name) for name in ("a", "b")), cut.output]
    slices = tuple(Slice(entry=cut.entry, inputs=(x,), outputs=(y,)) for x, y in itertools.pairwise(tensors))
    return manifest(whole, msgspec.structs.replace(cut, slices=slices, context=(1, 2)))


@pytest.mark.parametrize(
    ("parts", "deadline_ms", "times_ms", "expected"),
    [
        pytest.param("", None, (20, 25), "whole", id="nothing-needed"),
        pytest.param("any", 30, (20, 25), "whole", id="fits"),
        pytest.param("any", 21, (20, 25), "sliced", id="does-not-fit-with-the-rest"),
        pytest.param("any", 10, (20, 25), "sliced", id="does-not-fit"),
        pytest.param("any", 10, (20, 50), "whole", id="slices-far-too-slow"),
        pytest.param("any", None, (20, 25), "sliced", id="trial"),
        pytest.param("slices", None, (20, 50), "sliced", id="slices"),
        pytest.param("context", None, (20, 50), "sliced", id="context"),
        pytest.param("tiles", None, (20, 50), "whole", id="nothing-has-tiles"),
    ],
)
def test_a_schedule_gets_a_variant_that_it_can_use(
    paced: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parts: str,
    deadline_ms: float | None,
    times_ms: tuple[float, float],
    expected: str,
) -> None:
    monkeypatch.setattr(schedule_need, "usable_cores", lambda: 2)
    bundle, need = scheduled(tmp_path, *times_ms), ScheduleNeed(parts=parts, deadline_ms=deadline_ms)
    cache = tmp_path / "auto.json"
    assert choose(paced, bundle, tmp_path, need=need, cache=cache).variant.id == expected
    remembered = choose(paced, bundle, tmp_path, need=need, cache=cache)
    assert (remembered.origin, remembered.variant.id) == ("cache", expected)


def test_one_memory_serves_all_schedules(paced: Any, tmp_path: Path) -> None:
    bundle, cache = scheduled(tmp_path, 20, 25), tmp_path / "auto.json"
    assert choose(paced, bundle, tmp_path, cache=cache).summary == "whole (20.0 ms), fastest of 2 timed just now"
    choice = choose(paced, bundle, tmp_path, cache=cache, need=ScheduleNeed(parts="any", deadline_ms=10))
    assert (choice.origin, choice.variant.id) == ("cache", "sliced")
    assert choice.summary.endswith("of 2 timed on an earlier run; whole (20.0 ms) cannot be")


def test_on_one_core_slices_are_taken_however_slow(paced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_need, "usable_cores", lambda: 1)
    need = ScheduleNeed(parts="any", deadline_ms=10)
    assert choose(paced, scheduled(tmp_path, 20, 90), tmp_path, need=need).variant.id == "sliced"


def test_all_sessions_are_closed(paced: Any, tmp_path: Path) -> None:
    bundle = manifest(pace(tmp_path, "a", 1), pace(tmp_path, "b", -1), pace(tmp_path, "c", 9))
    choose(paced, bundle, tmp_path)
    assert sorted(paced.opened) == ["-a", "-b", "-c", "a", "b", "c"]


def test_dropped_accuracy_is_the_last_resort(paced: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dropped = pace(tmp_path, "int8", 1, precision="int8", status="drop")
    bundle = manifest(dropped, pace(tmp_path, "float", 20))
    choice = choose(paced, bundle, tmp_path)
    assert choice.variant.id == "float"
    assert choice.table[0].reason == REJECTED_AT_EXPORT
    assert caplog.messages == []
    assert choose(paced, bundle, tmp_path, precision="int8").variant.id == "int8"
    assert "int8 lost more accuracy than allowed" in caplog.text


def test_variants_for_other_machines_are_not_opened(paced: Any, tmp_path: Path) -> None:
    bundle = manifest(
        pace(tmp_path, "x86", 1, target="x86_64"),
        pace(tmp_path, "sve", 1, requires=("sve",)),
        pace(tmp_path, "jetson", 1, target="jetson"),
        pace(tmp_path, "arm", 5, target="arm64"),
    )
    pi = CpuInfo(model="Cortex-A76", architecture="arm64", cores=4, features=("asimd", "asimddp"))
    assert choose(paced, bundle, tmp_path, cpu=pi).variant.id == "arm"
    assert paced.opened == ["arm", "-arm"]


def test_nothing_opens(paced: Any, tmp_path: Path) -> None:
    bundle = manifest(
        pace(tmp_path, "broken", -1),
        variant("absent", "no-such-runtime"),
        pace(tmp_path, "odd", 1, target="mips"),
    )
    with pytest.raises(BackendError) as caught:
        choose(paced, bundle, tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no variant of bundle 'tiny' can be opened on this machine:"
    assert lines[1] == "  broken: the graph fell over"
    assert lines[2].startswith("  absent: there is no runtime 'no-such-runtime'")
    assert lines[3] == "  odd: unknown target 'mips'"


def test_missing_packages_are_named_with_their_pip_lines(tmp_path: Path) -> None:
    """In a process where no backend can be found, the error has a pip line for each."""
    code = (
        "import sys\n"
        "for name in ('onnxruntime', 'openvino', 'ai_edge_litert', 'tflite_runtime'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path; from tiny_network import manifest, variant\n"
        "from edge_vseg.errors import BackendError; from edge_vseg.runtimes import SessionOptions\n"
        "from edge_vseg.bundle import Bundle\n"
        "from edge_vseg.runtimes.selection.auto import choose_variant\n"
        "bundle = manifest(*(variant(n, n) for n in ('onnxruntime', 'openvino', 'tflite')))\n"
        "try: choose_variant(Bundle(root=Path('.'), manifest=bundle, sha256='h'), options=SessionOptions())\n"
        "except BackendError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    for extra in ("onnxruntime", "openvino", "litert", "tflite-runtime"):
        assert f"pip install 'edge-vseg[{extra}]'" in done.stdout


def test_missing_precision(paced: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no variant of precision 'int8'; it has: float"):
        choose(paced, manifest(pace(tmp_path, "float", 1)), tmp_path, precision="int8")


def test_rounds_below_one(paced: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="rounds"):
        choose(paced, manifest(pace(tmp_path, "float", 1)), tmp_path, rounds=0)


class TestMemory:
    """What is remembered, and what makes it forgotten."""

    @pytest.fixture
    def bundle(self, paced: Any, tmp_path: Path) -> Manifest:
        return manifest(pace(tmp_path, "float", 20), pace(tmp_path, "int8", 12, precision="int8"))

    @pytest.fixture
    def again(self, paced: Any, tmp_path: Path, bundle: Manifest) -> Callable[..., Choice]:
        """Choose with a cache, after a first choice has filled it."""
        cache = tmp_path / "cache" / "edge_vseg" / "auto.json"
        choose(paced, bundle, tmp_path, cache=cache)
        paced.opened.clear()
        return lambda **more: choose(paced, bundle, tmp_path, **({"cache": cache} | more))

    def test_cached_choice_opens_nothing(self, paced: Any, again: Callable[..., Choice]) -> None:
        choice = again()
        assert (choice.variant.id, choice.origin) == ("int8", "cache")
        assert [t.median_ms for t in choice.table] == [20, 12]
        assert choice.summary == "int8 (12.0 ms), fastest of 2 timed on an earlier run"
        assert paced.opened == []

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"bundle_hash": "b" * 64}, id="bundle"),
            pytest.param({"options": SessionOptions(threads=3)}, id="threads"),
            pytest.param({"options": SessionOptions(provider_options={"a": "b"})}, id="extra"),
            pytest.param({"precision": "int8"}, id="precision"),
            pytest.param({"cpu": CpuInfo(model="x", architecture="x86_64", cores=1, features=())}, id="cpu"),
            pytest.param({"cache": None}, id="no-cache"),
        ],
    )
    def test_changed_key_measures_again(self, again: Callable[..., Choice], change: dict[str, object]) -> None:
        assert again(**change).origin == "measured"

    def test_change_of_version(self, paced: Any, again: Callable[..., Choice]) -> None:
        paced.VERSION = "2"
        assert again().origin == "measured"

    @pytest.mark.parametrize(
        "damage",
        [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 1}', b'{"schema": 1, "entries": {"k": 3}}', b"[" * 100_000],
        ids=["empty", "cut", "list", "not-utf8", "no-entries", "wrong-entry", "deep"],
    )
    def test_damaged_file_is_logged_and_replaced(
        self, tmp_path: Path, again: Callable[..., Choice], damage: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        (cache,) = (tmp_path / "cache").rglob("*.json")
        cache.write_bytes(damage)
        assert again().origin == "measured"
        assert "unreadable" in caplog.text
        assert again().origin == "cache"

    def test_other_schema_is_not_read(self, tmp_path: Path, again: Callable[..., Choice]) -> None:
        (cache,) = (tmp_path / "cache").rglob("*.json")
        cache.write_bytes(cache.read_bytes().replace(b'"schema":1', b'"schema":2'))
        assert again().origin == "measured"

    def test_removed_variant_is_measured_again(
        self, paced: Any, tmp_path: Path, bundle: Manifest, again: Callable[..., Choice]
    ) -> None:
        (cache,) = (tmp_path / "cache").rglob("*.json")
        cache.write_bytes(cache.read_bytes().replace(b'"variant_id":"int8"', b'"variant_id":"gone"'))
        assert again().variant.id == "int8"

    def test_folder_that_cannot_be_written_is_logged_only(
        self, paced: Any, tmp_path: Path, bundle: Manifest, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        choice = choose(paced, bundle, tmp_path, cache=tmp_path / "file" / "auto.json")
        assert choice.variant.id == "int8"
        assert "cannot be stored" in caplog.text

    def test_no_staging_file_is_left(self, tmp_path: Path, again: Callable[..., Choice]) -> None:
        assert [p.name for p in (tmp_path / "cache" / "edge_vseg").iterdir()] == ["auto.json"]


def test_oldest_entries_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "auto.json"
    choice = CachedChoice(variant_id="a", table=(CachedTiming(variant_id="a", median_ms=1.0),))
    for number in range(MAX_ENTRIES + 2):
        write_choice(path, f"key{number}", choice)
    assert read_choice(path, "key1") is None
    assert read_choice(path, "key2") == choice
    assert read_choice(path, f"key{MAX_ENTRIES + 1}") == choice


@pytest.mark.parametrize(
    ("cache_home", "expected"),
    [
        ("/var/c", "/var/c/edge_vseg/auto.json"),
        ("", "/h/.cache/edge_vseg/auto.json"),
    ],
    ids=["set", "empty"],
)
def test_default_cache_path(cache_home: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.setenv("HOME", "/h")
    assert default_cache_path() == Path(expected)


def test_the_default_cache_path_is_never_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "rel")
    path = default_cache_path()
    assert path is None or path.is_absolute()


def test_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert default_cache_path() is None


def test_real_runtimes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ONNX Runtime, OpenVINO, TFLite and numpy on the tiny network, on the real clock."""
    variants = []
    for name in ("onnxruntime", "openvino", "tflite", "reference"):
        installed(name)
        made = variant(f"{name}/float", name)
        (tmp_path / made.id).mkdir(parents=True)
        for suffix in {"onnxruntime": ["onnx"], "openvino": ["xml", "bin"], "tflite": ["tflite"]}.get(name, []):
            shutil.copy(ASSETS / f"tiny.{suffix}", tmp_path / made.id)
        variants.append(made)
    write_blocks(tmp_path / "reference/float/tiny.npz")
    damaged = variant("damaged", "onnxruntime")
    (tmp_path / "damaged").mkdir()
    (tmp_path / damaged.entry).write_bytes(b"\x08")
    cache = tmp_path / "auto.json"
    bundle = Bundle(root=tmp_path, manifest=manifest(*variants, damaged), sha256="h")
    with caplog.at_level(logging.INFO, "edge_vseg.runtimes.selection.auto"):
        choice = choose_variant(bundle, options=SessionOptions(threads=1), cache=cache, rounds=3)
    timed = {t.variant_id: t.median_ms for t in choice.table if t.median_ms is not None}
    assert set(timed) == {v.id for v in variants}
    assert timed[choice.variant.id] == min(timed.values())
    assert "cannot load" in choice.table[-1].reason
    assert caplog.messages == [f"variant: {choice.summary}"]
    repeated = choose_variant(bundle, options=SessionOptions(threads=1), cache=cache, rounds=3)
    assert (repeated.origin, repeated.variant, repeated.table) == ("cache", choice.variant, choice.table)
