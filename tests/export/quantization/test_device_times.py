"""Times of nodes that were recorded on a device choose what int8 leaves in float, recorded with real runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import onnx
import pytest
from networks import deep_onnx, segmenter_onnx

from edge_vseg.analysis.operator_recording import OperatorRecording, RecordedVariant, record_operators
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import open_bundle
from edge_vseg.errors import OptionError
from edge_vseg.export import (
    BundleUpdate,
    DeviceTimes,
    ExportOptions,
    ExportThresholds,
    Normalization,
    export_bundle,
    update_bundle,
)
from edge_vseg.export.export_options import native_targets
from edge_vseg.export.quantization.node_times import times_by_node
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.operator_times.measurement import OperatorTime

OPTIONS = ExportOptions(
    runtimes=("onnxruntime",),
    slices=False,
    max_drop=1.0,
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    thresholds=ExportThresholds(float_layer_counts=(2,), timing_rounds=3),
)
FOREIGN = replace(OPTIONS, targets=("arm64",))
NATIVE = f"onnxruntime/int8-{native_targets(cpu_features().has_vnni)[0]}"


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    path.write_bytes(deep_onnx().SerializeToString())
    return path


@pytest.fixture(scope="module")
def bundle(network, sample) -> Path:
    return export_bundle(str(network), network.parent / "net.evseg", sample, OPTIONS).path


@pytest.fixture(scope="module")
def nodes(bundle):
    return onnx.load(bundle / "onnxruntime/float/model.onnx").graph.node


@pytest.fixture(scope="module")
def times(bundle) -> DeviceTimes:
    """Through the file, as it comes from a device."""
    path = bundle.parent / "times.json"
    path.write_bytes(record_operators(bundle, RuntimeOptions(threads=1)).to_json())
    return DeviceTimes.read(path)


def changed(times: DeviceTimes, change) -> DeviceTimes:
    """With each variant as ``change`` makes it."""
    variants = tuple(map(change, times.recording.variants))
    return replace(times, recording=msgspec.structs.replace(times.recording, variants=variants))


def with_dear(times: DeviceTimes, names, nodes) -> DeviceTimes:
    """With nodes that take a tenth of a second in float, and that were not in float in the recorded int8 graph."""

    def change(variant: RecordedVariant) -> RecordedVariant:
        if variant.precision == "int8":
            return msgspec.structs.replace(variant, float_nodes=())  # what they lose would be guessed, else
        operators = tuple(
            replace(each, median_ms=100.0) if times_by_node([each], nodes).ms.keys() & set(names) else each
            for each in variant.operators
        )
        return msgspec.structs.replace(variant, operators=operators)

    return changed(times, change)


def int8_of(network, sample, target: Path, options: ExportOptions):
    export_bundle(str(network), target, sample, options)
    return next(each for each in open_bundle(target).manifest.variants if each.precision == "int8")


def test_what_is_recorded(bundle, times) -> None:
    found = times.recording
    assert (found.cpu, found.threads, found.size_hw) == (cpu_features().model, 1, (24, 32))
    assert found.macs == open_bundle(bundle).manifest.source.macs
    assert {each.id for each in found.variants} == {"onnxruntime/float", NATIVE}
    kept = {each.id: each.float_nodes for each in open_bundle(bundle).manifest.variants}
    for each in found.variants:
        assert len([o for o in each.operators if "Conv" in o.kind]) == 12
        assert each.total_ms > 0
        assert each.float_nodes == kept[each.id]
    assert found.versions["onnxruntime"].startswith("onnxruntime ")


def test_a_graph_for_another_machine_goes_by_the_recording(network, sample, times, nodes, tmp_path) -> None:
    """What is left in float is another layer as soon as that one takes long in float on the device."""
    found = int8_of(network, sample, tmp_path / "a.evseg", replace(FOREIGN, node_times=times))
    assert found.float_nodes
    assert found.ranked_by == f"recorded on {cpu_features().model}, 1 thread"
    assert [(each.estimated, each.quartiles_ms) for each in found.trials] == [(True, None)] * len(found.trials)
    assert all(each.latency_ms > 0 and each.speedup > 0 for each in found.trials)
    page = (tmp_path / "a.evseg" / "report.html").read_text(encoding="utf-8")
    assert "recorded on" in page
    assert ">estimated<" in page

    dear = with_dear(times, found.float_nodes, nodes)
    other = int8_of(network, sample, tmp_path / "b.evseg", replace(FOREIGN, node_times=dear))
    assert other.float_nodes
    assert not set(other.float_nodes) & set(found.float_nodes)


def test_a_gpu_does_not_go_by_a_cpu(network, sample, times, tmp_path, caplog) -> None:
    options = replace(OPTIONS, targets=("jetson",), node_times=times)
    found = int8_of(network, sample, tmp_path / "a.evseg", options)
    assert found.ranked_by == "multiply-accumulates"
    assert {each.latency_ms for each in found.trials} == {None}
    assert "times.json says too little of onnxruntime/int8-jetson" in caplog.text


def test_the_same_variant_goes_by_the_recording_too(network, sample, times, tmp_path) -> None:
    """Its trials are timed, as it runs here."""
    found = int8_of(network, sample, tmp_path / "a.evseg", replace(OPTIONS, node_times=times))
    assert found.ranked_by.startswith("recorded on")
    assert not any(each.estimated for each in found.trials)


def test_an_update_goes_by_the_recording(bundle, sample, times, tmp_path) -> None:
    update = BundleUpdate(
        runtimes=("onnxruntime",), targets=("arm64",), node_times=times, thresholds=FOREIGN.thresholds, max_drop=1.0
    )
    made = update_bundle(bundle, sample, update, output=tmp_path / "new.evseg")
    (found,) = (each for each in made.manifest.variants if each.target == "arm64")
    assert found.ranked_by.startswith("recorded on")
    with pytest.raises(OptionError, match="this update builds none"):
        update_bundle(bundle, sample, BundleUpdate(node_times=times), output=tmp_path / "other.evseg")


def test_what_a_file_is_good_for(times, nodes) -> None:
    """The very graph, any graph for another machine, and TFLite, which has no profiler; nothing else."""
    assert times.costs("onnxruntime", NATIVE, nodes) is not None
    assert times.costs("onnxruntime", "onnxruntime/int8-arm64", nodes, foreign=True) is not None
    assert times.costs("onnxruntime", "onnxruntime/int8-other", nodes) is None
    assert times.costs("tflite", "tflite/int8", nodes) is not None
    assert times.costs("openvino", "openvino/int8", nodes) is None
    assert [times.serves(name) for name in ("onnxruntime", "tflite", "openvino")] == [True, True, False]


def operator(name: str, ms: float) -> OperatorTime:
    return OperatorTime(name=name, kind="Conv", ms=ms, median_ms=ms, share=0.0, calls=1)


def recording(*variants: RecordedVariant, **more) -> OperatorRecording:
    facts = {"size_hw": (24, 32), "macs": None, "cpu": "Cortex-A76", "threads": 4} | more
    return OperatorRecording(
        bundle="net", bundle_sha256="0" * 64, versions={}, variants=variants, skipped={}, **facts
    )  # fmt: skip


def test_what_a_graph_with_nodes_in_float_would_take(nodes) -> None:
    """A node that was in float when it was recorded would gain what the others gain on average."""
    first, second, third = [node.name for node in nodes if node.op_type == "Conv"][:3]
    in_float = tuple(operator(name, ms) for name, ms in ((first, 4.0), (second, 2.0), (third, 6.0)))
    in_int8 = tuple(operator(name, ms) for name, ms in ((first, 1.0), (second, 2.0), (third, 5.9)))
    of = {"runtime": "onnxruntime"}
    recorded = recording(
        RecordedVariant(id="onnxruntime/float", precision="float", operators=in_float, **of),
        RecordedVariant(id="onnxruntime/int8-arm64", precision="int8", operators=in_int8, float_nodes=(third,), **of),
    )
    times = DeviceTimes(path=Path("times.json"), recording=recorded)
    costs = times.costs("onnxruntime", "onnxruntime/int8-arm64", nodes)
    assert costs is not None
    assert costs.origin == "recorded on Cortex-A76, 4 threads"
    assert [costs.lost_ms[name] for name in (first, second, third)] == pytest.approx([3.0, 0.0, 3.0])
    assert (costs.float_ms, costs.int8_ms) == pytest.approx((12.0, 5.9))
    assert costs.estimated_ms([first, "unknown"]) == pytest.approx(8.9)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"size_hw": (48, 64)}, "at 48x64, and this export is at 24x32"),
        ({"macs": 5_000_000}, r"with 5\.0 MMAC, and this one has"),
        ({}, r"of which \d+% of the time of onnxruntime/float bears names of this network's nodes"),
    ],
    ids=["size", "macs", "names"],
)
def test_a_file_of_another_network_is_refused(facts, words, network, times, tmp_path) -> None:
    """Before there are any frames."""
    foreign = tmp_path / "other.onnx"
    foreign.write_bytes(network.read_bytes() if facts else renamed(network))
    recorded = msgspec.structs.replace(times.recording, **facts)
    options = replace(OPTIONS, node_times=replace(times, recording=recorded))
    with pytest.raises(OptionError, match=rf"times\.json is of another network: 'net' {words}.*--record-operators"):
        export_bundle(str(foreign), tmp_path / "net.evseg", BROKEN, options)


class _Broken:
    """Sample frames of which there are some, and none may be read."""

    calibration = validation = (None,)


BROKEN = _Broken()


def renamed(network: Path) -> bytes:
    """The same network with other names."""
    model = onnx.load(network)
    made = {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        node.name = f"other_{node.name}"
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in made:
                    names[place] = f"other_{name}"
    model.graph.output[0].name = f"other_{model.graph.output[0].name}"
    del model.graph.value_info[:]
    return model.SerializeToString()


def test_options_that_contradict_the_file(times) -> None:
    with pytest.raises(OptionError, match="add int8 to --precision"):
        ExportOptions(node_times=times, precisions=("float",))
    with pytest.raises(OptionError, match=r"times\.json has times of onnxruntime, and --runtimes asks for openvino"):
        ExportOptions(node_times=times, runtimes=("openvino",))


def test_a_smaller_network_of_the_same_names_is_another(times, tmp_path, sample) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(segmenter_onnx().SerializeToString())
    with pytest.raises(OptionError, match="MMAC"):
        export_bundle(str(path), tmp_path / "net.evseg", sample, replace(OPTIONS, node_times=times))
