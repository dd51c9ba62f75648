"""An export goes on where it was stopped, traces a network once, and makes each variant alike whatever is beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from networks import SIZE_HW

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.export import Exported, ExportOptions, ExportThresholds, Normalization, SampleFrames, export_bundle
from edge_vseg.export.pipeline import float_graph_step, work_folder
from edge_vseg.export.pipeline.float_graph_step import build_float_graph, check_float_graph, describe_source
from edge_vseg.export.pipeline.job import open_job
from edge_vseg.export.pipeline.open_step import open_network_step
from edge_vseg.export.pipeline.partition_step import partition_variants
from edge_vseg.export.pipeline.quantize_step import quantize_variants
from edge_vseg.export.pipeline.validate_step import validate_variants
from edge_vseg.export.variant_validation import VariantValidator

SOURCE = "torch_networks:small"
pytestmark = pytest.mark.usefixtures("warm_converter", "products_for_times")
OPTIONS = ExportOptions(
    labels=numbered_labels(4),
    size_hw=SIZE_HW,
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    runtimes=("onnxruntime",),
    targets=("x86_64-avx2",),
    max_drop=1.0,
    thresholds=ExportThresholds(int8_accepted=1.0),  # nothing is chosen by measured time
)


class Stopped(Exception):
    """What a pulled plug looks like from inside."""


@contextmanager
def counted_traces() -> Iterator[list[tuple[int, ...]]]:
    """The input size of every call of ``torch.onnx.export``."""
    sizes: list[tuple[int, ...]] = []
    export = torch.onnx.export

    def counted(module, arguments, **options):
        sizes.append(tuple(arguments[0].shape[2:]))
        return export(module, arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", counted)
        yield sizes


@pytest.fixture
def traced() -> Iterator[list[tuple[int, ...]]]:
    with counted_traces() as sizes:
        yield sizes


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An export from beginning to end, for all tests; they change a copy of its work folder."""

    made: Exported
    work: Path
    traced: tuple[tuple[int, ...], ...]

    def copied_work(self, folder: Path) -> Path:
        return shutil.copytree(self.work, folder / "work")


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, sample: SampleFrames, warm_converter: None, products_for_times: None
) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    with counted_traces() as sizes:
        made = export_bundle(SOURCE, folder / "a.evseg", sample, OPTIONS, work_dir=folder / "work")
    return Finished(made=made, work=folder / "work", traced=tuple(sizes))


def graphs(path: Path) -> dict[str, str]:
    """Hash of each whole graph; where slices begin goes by measured time."""
    files = open_bundle(path).manifest.files
    return {name: spec.sha256 for name, spec in files.items() if "/model." in name}


def test_a_network_is_traced_once(finished: Finished) -> None:
    assert finished.traced == (SIZE_HW,)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("checking the graph", id="check"),
        pytest.param("rounding weights", id="quantize"),
        pytest.param("comparing onnxruntime/int8", id="validate"),
        pytest.param("cutting", id="partition"),
        pytest.param("writing", id="write"),
    ],
)
def test_a_stopped_export_goes_on(
    tmp_path: Path, sample: SampleFrames, traced: list, finished: Finished, line: str
) -> None:
    target, work = tmp_path / "net.evseg", tmp_path / "work"

    def stop(said: str) -> None:
        if said.startswith(line):
            raise Stopped

    with pytest.raises(Stopped):
        export_bundle(SOURCE, target, sample, OPTIONS, stop, work_dir=work)
    assert not target.exists()
    assert traced == [SIZE_HW]
    said: list[str] = []
    export_bundle(SOURCE, target, sample, OPTIONS, said.append, work_dir=work)
    assert traced == [SIZE_HW], "the float graph is taken from the work folder"
    before = {"cutting": "comparing", "writing": "timing"}.get(line)
    assert before is None or not any(each.startswith(before) for each in said)
    assert ("rounding weights" in said) == (line in ("checking the graph", "rounding weights"))
    assert graphs(target) == graphs(finished.made.path)


def test_a_finished_export_is_not_repeated(
    tmp_path: Path, sample: SampleFrames, traced: list, finished: Finished
) -> None:
    said: list[str] = []
    work = finished.copied_work(tmp_path)
    again = export_bundle(SOURCE, tmp_path / "a.evseg", sample, OPTIONS, said.append, work_dir=work)
    assert again.manifest.variants == finished.made.manifest.variants, "even the times"
    assert traced == []
    assert not [line for line in said if line.startswith(("timing", "comparing", "rounding", "measuring"))]


@pytest.mark.parametrize(
    ("changed", "redone"),
    [
        pytest.param({"seed": 1}, "rounding weights", id="seed"),
        pytest.param({"max_drop": 0.5}, "timing onnxruntime", id="max-drop"),
        pytest.param({"thresholds": ExportThresholds(int8_agreement=0.5)}, "rounding weights", id="threshold"),
        pytest.param({"resize": "letterbox"}, "rounding weights", id="resize"),
        pytest.param(
            {"thresholds": replace(OPTIONS.thresholds, max_timing_threads=1)}, "rounding weights", id="threads"
        ),
        pytest.param({"normalization": Normalization()}, "timing onnxruntime", id="normalization"),
    ],
)
def test_other_options_are_not_taken_from_the_work_folder(
    tmp_path: Path, sample: SampleFrames, finished: Finished, changed: dict, redone: str
) -> None:
    said: list[str] = []
    other = replace(OPTIONS, slices=False, **changed)
    work = finished.copied_work(tmp_path)
    export_bundle(SOURCE, tmp_path / "b.evseg", sample, other, said.append, work_dir=work)
    export_bundle(SOURCE, tmp_path / "c.evseg", sample, other)
    assert redone in said
    assert graphs(tmp_path / "b.evseg") == graphs(tmp_path / "c.evseg")


def test_damage_in_the_work_folder_is_repaired(tmp_path: Path, sample: SampleFrames, finished: Finished) -> None:
    work = finished.copied_work(tmp_path)
    (work / "variants" / "onnxruntime" / "int8-x86_64-avx2" / "model.onnx").write_bytes(b"half")
    (work / "float_graph.onnx").unlink()
    export_bundle(SOURCE, tmp_path / "b.evseg", sample, replace(OPTIONS, slices=False), work_dir=work)
    assert graphs(finished.made.path) == graphs(tmp_path / "b.evseg")


def test_a_folder_with_other_things_is_no_work_folder(tmp_path: Path, sample: SampleFrames) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OptionError, match="holds other things"):
        export_bundle(SOURCE, tmp_path / "net.evseg", sample, OPTIONS, work_dir=tmp_path)


def test_slices_of_an_earlier_export_stay_out(tmp_path: Path, sample: SampleFrames, finished: Finished) -> None:
    work = finished.copied_work(tmp_path)
    made = export_bundle(SOURCE, tmp_path / "b.evseg", sample, replace(OPTIONS, slices=False), work_dir=work)
    assert any("slice" in name for name in open_bundle(finished.made.path).manifest.files)
    assert not any("slice" in name for name in made.manifest.files)


def test_steps_one_by_one(tmp_path: Path, sample: SampleFrames) -> None:
    with open_job(SOURCE, tmp_path / "net.evseg", OPTIONS, frames=sample) as job:
        network = open_network_step(job)
        built = build_float_graph(job, network)
        assert check_float_graph(job, network, built) > 0.99
        quantized = quantize_variants(job, built)
        validated = validate_variants(job, built, quantized)
        assert [v.variant.parity is not None for v in validated.variants] == [True, True]
        done = partition_variants(job, network, built, quantized, validated)
    assert [bool(v.variant.slices or v.variant.unsliced) for v in done.variants] == [True, True]


@pytest.mark.parametrize(
    ("runtimes", "others"),
    [
        pytest.param(
            ("onnxruntime", "openvino"), ("openvino", "onnxruntime"), id="other-order", marks=pytest.mark.release
        ),
        pytest.param(("onnxruntime", "openvino"), ("openvino",), id="alone"),
        pytest.param(("onnxruntime", "tflite"), ("tflite",), id="tflite-alone", marks=pytest.mark.release),
    ],
)
def test_a_variant_does_not_depend_on_those_beside_it(
    tmp_path: Path, sample: SampleFrames, onnx_file: Path, runtimes: tuple, others: tuple
) -> None:
    """Nothing suffices, so that each search goes to its end: a search that began there would make another graph."""
    options = replace(
        OPTIONS,
        size_hw=None,
        slices=False,
        precisions=("int8",),
        # Without one that is good enough the best is taken, whatever time it takes.
        thresholds=ExportThresholds(int8_agreement=1.0, int8_accepted=1.0, float_layer_counts=(0, 1, 2)),
    )
    made = [
        export_bundle(
            str(onnx_file),
            tmp_path / f"{number}.evseg",
            sample,
            replace(options, runtimes=each, targets=OPTIONS.targets if "onnxruntime" in each else ()),
        )
        for number, each in enumerate((runtimes, others))
    ]
    floats = [{v.id: v.float_nodes for v in each.manifest.variants} for each in made]
    hashes = [graphs(each.path) for each in made]
    assert hashes[1]
    for name in hashes[1]:
        assert hashes[0][name] == hashes[1][name], name
    assert floats[1].items() <= floats[0].items()


def test_what_did_not_run_is_run_again(
    tmp_path: Path, sample: SampleFrames, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without memory for it today may have some tomorrow."""
    options = replace(OPTIONS, size_hw=None, slices=False)
    run = VariantValidator.run_variant

    def broken(self: VariantValidator, variant: Variant, *more: object) -> object:
        if variant.precision == "int8":
            raise BackendError("no memory")
        return run(self, variant, *more)

    with monkeypatch.context() as short:
        short.setattr(VariantValidator, "run_variant", broken)
        made = export_bundle(str(onnx_file), tmp_path / "a.evseg", sample, options, work_dir=tmp_path / "work")
    assert [failed.reason for failed in made.manifest.failed] == ["no memory"]
    said: list[str] = []
    made = export_bundle(str(onnx_file), tmp_path / "b.evseg", sample, options, said.append, work_dir=tmp_path / "work")
    assert made.manifest.failed == ()
    assert len(made.manifest.variants) == 2
    assert "rounding weights" not in said, "what could be built is still taken"


def test_graphs_of_other_rules_are_not_taken(tmp_path: Path, traced: list, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> None:
        with open_job(SOURCE, tmp_path / "net.evseg", OPTIONS, work_dir=tmp_path / "work") as job:
            build_float_graph(job, open_network_step(job))

    make()
    make()
    assert len(traced) == 1
    monkeypatch.setattr(work_folder, "RULES", work_folder.RULES + 1)
    make()
    assert len(traced) == 2


def test_measurements_of_other_rules_are_not_taken(
    tmp_path: Path, sample: SampleFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the network as it came, and of the camera's noise."""
    asked: list[str] = []
    for name in ("check_against_source", "noise_agreement"):
        monkeypatch.setattr(float_graph_step, name, lambda *_, name=name, **more: asked.append(name) or 1.0)

    def make() -> None:
        with open_job(SOURCE, tmp_path / "net.evseg", OPTIONS, frames=sample, work_dir=tmp_path / "work") as job:
            network = open_network_step(job)
            built = build_float_graph(job, network)
            describe_source(job, network, built, check_float_graph(job, network, built))

    make()
    make()
    assert asked == ["check_against_source", "noise_agreement"]
    monkeypatch.setattr(work_folder, "RULES", work_folder.RULES + 1)
    make()
    assert asked == ["check_against_source", "noise_agreement"] * 2
