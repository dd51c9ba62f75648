"""Which variant is chosen on this machine, and why."""

from __future__ import annotations

import itertools
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paced_variants import choose, pace
from tiny_network import ASSETS, installed, manifest, variant, write_blocks

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import FailedVariant, Manifest, Slice
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.selection import schedule_need
from edge_vseg.runtimes.selection.auto import REJECTED_AT_EXPORT, choose_variant
from edge_vseg.runtimes.selection.group_timing import time_group
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed


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
