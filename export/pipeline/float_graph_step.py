"""Steps 2 and 3: the float graph that all variants are made from, and whether it is what the network is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
import onnx

from edge_vseg.bundle.manifest import Label, SourceSpec
from edge_vseg.export.camera_noise import noise_agreement
from edge_vseg.export.export_options import check_tiles_fit
from edge_vseg.export.float_graph import FloatGraph, check_against_source, make_float_graph
from edge_vseg.export.graph.head import Head
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.export.graph.macs import count_macs, count_parameters
from edge_vseg.export.pipeline.job import ExportJob
from edge_vseg.export.pipeline.work_folder import frames_sha256, step_fingerprint
from edge_vseg.export.source.source_network import SourceNetwork
from edge_vseg.types import Size


class _FloatGraphTree(msgspec.Struct):
    """A float graph in JSON, the model left out."""

    image: ImageInput
    size_hw: Size
    head: Head
    labels: tuple[Label, ...]

    def with_model(self, model: onnx.ModelProto) -> FloatGraph:
        """The float graph."""
        return FloatGraph(model=model, image=self.image, size_hw=self.size_hw, head=self.head, labels=self.labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltFloatGraph:
    """The float graph.

    Attributes:
        graph: The graph.
        source_sha256: Hash of the network that it was made from.
        sha256: Hash of the graph itself.
    """

    graph: FloatGraph
    source_sha256: str
    sha256: str


def build_float_graph(job: ExportJob, network: SourceNetwork) -> BuiltFloatGraph:
    """Make the float graph, or take it from the work folder.

    This is the only step that traces a torch module at the input size.

    Raises:
        SourceError: If the network cannot be exported, or the classes do not fit it.
        OptionError: If the tiles do not fit the input size.
    """
    options, path = job.options, job.work.root / "float_graph.onnx"
    key = step_fingerprint(
        "float graph",
        network.name,
        network.fingerprint,
        network.output,
        options.size_hw,
        options.labels,
        job.normalization,
    )
    record = job.work.load("float_graph", key)
    if record is None:
        graph, source_sha256 = make_float_graph(network, options), network.sha256
        path.write_bytes(graph.model.SerializeToString())
        tree = _FloatGraphTree(image=graph.image, size_hw=graph.size_hw, head=graph.head, labels=graph.labels)
        record = {"source_sha256": source_sha256, "graph": msgspec.to_builtins(tree)}
        job.work.save("float_graph", key, record, [path])
    else:
        source_sha256 = record["source_sha256"]
        graph = msgspec.convert(record["graph"], _FloatGraphTree).with_model(onnx.load(path))
    if options.tiles is not None:
        check_tiles_fit(options.tiles, graph.size_hw)
    return BuiltFloatGraph(graph=graph, source_sha256=source_sha256, sha256=graph_sha256(graph.model))


def check_float_graph(job: ExportJob, network: SourceNetwork, built: BuiltFloatGraph) -> float:
    """Share of pixels in which the float graph and the network as it came give the same class.

    Raises:
        ExportError: If fewer agree than ``thresholds.source_agreement``.
    """
    job.progress("checking the graph against the network")
    limits, graph = job.options.thresholds, built.graph
    frames = job.validation_frames(graph.size_hw)[: limits.source_check_frames]
    key = step_fingerprint("check", network.fingerprint, built.sha256, frames_sha256(frames), limits)
    agreement = job.work.load("check", key)
    if agreement is None:
        agreement = check_against_source(
            graph, network, job.normalization, frames, min_agreement=limits.source_agreement
        )
        job.work.save("check", key, agreement)
    return float(agreement)


def describe_source(job: ExportJob, network: SourceNetwork, built: BuiltFloatGraph, agreement: float) -> SourceSpec:
    """What the manifest says of the network."""
    norm, seed = job.normalization, job.options.seed
    frames = job.validation_frames(built.graph.size_hw)
    key = step_fingerprint("noise", built.sha256, frames_sha256(frames), seed)
    noise = job.work.load("noise", key)
    if noise is None:
        job.progress("measuring what noise of the camera changes")
        noise = noise_agreement(built.graph, frames, seed)
        job.work.save("noise", key, noise)
    return SourceSpec(
        name=network.name,
        kind=network.kind,
        sha256=built.source_sha256,
        macs=count_macs(built.graph.model),
        parameters=count_parameters(built.graph.model),
        agreement=agreement,
        noise_agreement=float(noise),
        mean=norm.mean,
        scale=norm.scale,
        color=norm.color,
        output=network.output,
    )


def graph_sha256(model: onnx.ModelProto) -> str:
    """Hash of a float graph, but for the metadata that a bundle writes into it."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
