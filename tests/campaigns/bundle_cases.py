"""Mutated bundles, and what must become of each: a named error, or the labels of the sound bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from damage import damaged_bytes, damaged_json, pick
from graph_damage import damaged_graph, endless_onnx, external_onnx, lacking_tflite
from tiny_bundle import CLASSES, GRAPHS, SCORES, SIZE_HW, write_tiny_bundle
from workers import Judge, Outcome, Verdict, note_kind

from edge_vseg import OpenOptions, Segmenter, open_bundle
from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS
from edge_vseg.errors import EdgeVsegError

OTHER_NETWORK = 0.98
"""Share of pixels: a graph whose hash was made anew is another network where it agrees less; `verify` may not know."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mutant:
    """A copy of the sound bundle, to be damaged.

    Attributes:
        root: Its folder.
        outside: A folder beside it.
        runtime: Of its one variant.
        rng: Draws the damage.
    """

    root: Path
    outside: Path
    runtime: str
    rng: np.random.Generator

    def file(self) -> Path:
        """One of its files."""
        return pick(self.rng, sorted(p for p in self.root.rglob("*") if p.is_file()))

    def graph(self) -> Path:
        """One of the files of its graph."""
        return pick(self.rng, sorted((self.root / self.runtime).rglob("*.*")))

    def rehash(self, *paths: Path) -> None:
        """Make the manifest agree with files that were changed."""
        index = self.root / "manifest.json"
        tree = json.loads(index.read_bytes())
        for path in paths:
            data = path.read_bytes()
            entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            tree["files"][path.relative_to(self.root).as_posix()] = entry
        index.write_text(json.dumps(tree))


def damage_bytes(mutant: Mutant) -> None:
    path = mutant.file()
    path.write_bytes(damaged_bytes(path.read_bytes(), mutant.rng))


def damage_manifest(mutant: Mutant) -> None:
    path = mutant.root / "manifest.json"
    path.write_bytes(damaged_json(path.read_bytes(), mutant.rng))


def damage_graph_bytes(mutant: Mutant) -> None:
    path = mutant.graph()
    path.write_bytes(damaged_bytes(path.read_bytes(), mutant.rng))
    mutant.rehash(path)


def damage_graph(mutant: Mutant) -> None:
    path = mutant.graph()
    path.write_bytes(damaged_graph(path.name, path.read_bytes(), mutant.rng))
    mutant.rehash(path)


def damage_check(mutant: Mutant) -> None:
    path = mutant.root / pick(mutant.rng, (CHECK_FRAME, CHECK_LABELS))
    data = bytearray(damaged_bytes(path.read_bytes(), mutant.rng))
    if mutant.rng.random() < 0.3:
        data[16:24] = mutant.rng.bytes(8)  # width and height of a PNG
    path.write_bytes(data)
    mutant.rehash(path)


def swap_files(mutant: Mutant) -> None:
    first, second = mutant.file(), mutant.file()
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    listed = [path for path in {first, second} if path.name != "manifest.json"]
    if mutant.rng.random() < 0.5 and len(listed) == 2:
        mutant.rehash(*listed)


def large_file(mutant: Mutant) -> None:
    path = mutant.file()
    os.truncate(path, pick(mutant.rng, (10**6, 10**8, 10**9, 10**12)))
    if path.name != "manifest.json" and path.stat().st_size <= 10**6:
        mutant.rehash(path)


def odd_file(mutant: Mutant) -> None:
    """A link, pipe, socket, folder or device in the place of a file."""
    path = pick(mutant.rng, (mutant.file(), mutant.root / "manifest.json"))
    copy = mutant.outside / "copy"
    shutil.copyfile(path, copy)
    path.unlink()
    match pick(
        mutant.rng, ("pipe", "pipe", "outside", "hard", "zero", "circle", "dangling", "folder", "socket", "inside")
    ):
        case "pipe":
            os.mkfifo(path)
        case "outside":
            path.symlink_to(copy)
        case "hard":
            os.link(copy, path)
        case "zero":
            path.symlink_to(
                pick(mutant.rng, ("/dev/zero", "/dev/random", "/dev/null", "/proc/kcore", "/proc/self/mem"))
            )
        case "circle":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to("nowhere")
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as server, _InFolder(path.parent):
                server.bind(path.name)
        case _:
            shutil.copyfile(copy, mutant.root / "moved")
            path.symlink_to(os.path.relpath(mutant.root / "moved", path.parent))


class _InFolder:
    """Names of sockets are short."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._before = folder, Path.cwd()

    def __enter__(self) -> None:
        os.chdir(self._folder)

    def __exit__(self, *_: object) -> None:
        os.chdir(self._before)


def unlisted_bytes(mutant: Mutant) -> None:
    """Weights that no hash covers; they are those of another network."""
    graph = mutant.root / mutant.runtime / "float" / GRAPHS[mutant.runtime][0]
    match mutant.runtime:
        case "openvino":
            weights = graph.with_suffix(".bin")
            floats = np.frombuffer(weights.read_bytes(), np.uint8).copy()
            weights.write_bytes(mutant.rng.permutation(floats).tobytes())
            index = mutant.root / "manifest.json"
            tree = json.loads(index.read_bytes())
            relative = weights.relative_to(mutant.root).as_posix()
            del tree["files"][relative]
            tree["variants"][0]["files"].remove(relative)
            index.write_text(json.dumps(tree))
            if mutant.rng.random() < 0.5:
                _move_outside(weights, mutant)
        case "onnxruntime":
            where = pick(
                mutant.rng, ("weights.bin", "../weights.bin", "../../../outside/weights.bin", "/etc/passwd", "")
            )
            graph.write_bytes(external_onnx(graph.read_bytes(), where))
            mutant.rehash(graph)
            if where and not where.startswith("/"):
                place = graph.parent / where
                place.write_bytes(mutant.rng.normal(size=4096).astype(np.float32).tobytes())
                if mutant.rng.random() < 0.5:
                    _move_outside(place, mutant)
        case _:
            (graph.parent / "more.bin").write_bytes(mutant.rng.bytes(64))


def _move_outside(path: Path, mutant: Mutant) -> None:
    there = mutant.outside / "elsewhere.bin"
    shutil.move(path, there)
    if mutant.rng.random() < 0.5:
        os.link(there, path)
    else:
        path.symlink_to(there)


def deadly(mutant: Mutant) -> None:
    """A graph that never answers, or that kills its process."""
    graph = mutant.root / mutant.runtime / "float" / GRAPHS[mutant.runtime][0]
    match mutant.runtime:
        case "onnxruntime":
            graph.write_bytes(endless_onnx((1, *SIZE_HW, 3), SCORES))
        case "tflite":
            graph.write_bytes(lacking_tflite(graph.read_bytes(), mutant.rng))
        case _:
            graph.write_bytes(damaged_graph(graph.name, graph.read_bytes(), mutant.rng))
    mutant.rehash(graph)


SAFE_KINDS: dict[str, Callable[[Mutant], None]] = {
    "bytes": damage_bytes, "manifest": damage_manifest, "check": damage_check, "swap": swap_files,
    "large": large_file, "odd": odd_file, "unlisted": unlisted_bytes,
}  # fmt: skip
GRAPH_KINDS: dict[str, Callable[[Mutant], None]] = {"graph": damage_graph, "graph-bytes": damage_graph_bytes}
"""Files with the right hash that no runtime was made for: only a process of its own may open them."""
OTHER_KINDS = frozenset({*GRAPH_KINDS, "deadly", "manifest", "swap"})
"""Where a changed file has a hash of its own, or is the manifest, what is left may be sound: a signature tells."""
KINDS = SAFE_KINDS | GRAPH_KINDS | {"deadly": deadly}
WEIGHTS = {"manifest": 6, "bytes": 4, "graph": 6, "graph-bytes": 3, "odd": 2, "deadly": 0.05, "large": 0.5}


def prepare(folder: Path, seed: int, kinds: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Judge:
    """Write the sound bundles, and learn what they answer."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    sys.setrecursionlimit(1000)
    frame = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    sound, truths = {}, {}
    for runtime in only or GRAPHS:
        root = folder / f"{runtime}.evseg"
        shutil.rmtree(root, ignore_errors=True)
        try:
            truths[runtime] = segment(write_tiny_bundle(root, runtime), frame)
        except EdgeVsegError:
            continue  # this runtime is not installed
        sound[runtime] = root
    names = kinds or tuple(KINDS)
    shares = np.array([WEIGHTS.get(name, 1.0) for name in names])

    def judge(number: int) -> Verdict:
        rng = np.random.default_rng((seed, number))
        kind = note_kind(folder, names[int(rng.choice(len(names), p=shares / shares.sum()))])
        runtime = pick(rng, tuple(sound))
        mutant = Mutant(root=folder / "mutant.evseg", outside=folder / "outside", runtime=runtime, rng=rng)
        for place in (mutant.root, mutant.outside):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound[runtime], mutant.root)
        mutant.outside.mkdir()
        KINDS[kind](mutant)
        truth = truths[runtime]
        outcome, detail = (
            _judged_check(mutant.root, truth, truth) if kind == "check" else _judged(mutant.root, frame, truth)
        )
        if outcome == "other" and kind not in OTHER_KINDS:
            outcome = "wrong"
        return Verdict(kind=kind, outcome=outcome, detail=f"{runtime}: {detail}")

    return judge


def segment(root: Path, frame: np.ndarray) -> np.ndarray:
    """What a robot does with a bundle."""
    bundle = open_bundle(root)
    variant = bundle.manifest.variants[0] if bundle.manifest.variants else None
    options = OpenOptions(variant=variant.id if variant else "")
    with Segmenter.open(root, threads=1, options=options) as segmenter:
        segmenter(frame)
        return segmenter(frame).labels


def _judged(root: Path, frame: np.ndarray, truth: np.ndarray) -> tuple[Outcome, str]:
    try:
        labels = segment(root, frame)
    except EdgeVsegError as exc:
        return _refusal(exc)
    except BaseException:
        return "uncaught", traceback.format_exc()[-600:]
    if np.array_equal(labels, truth):
        return "right", ""
    return _judged_check(root, labels, truth)


def _judged_check(root: Path, labels: np.ndarray, truth: np.ndarray) -> tuple[Outcome, str]:
    """What `edge-vseg verify` says of a bundle whose labels are others, or whose check frame was damaged."""
    try:
        bundle = open_bundle(root)
        check_files(bundle)
        checks = check_variants(bundle, threads=1)
    except EdgeVsegError as exc:
        return _refusal(exc)
    except BaseException:
        return "uncaught", traceback.format_exc()[-600:]
    if all(check.status != "ok" for check in checks):
        return "refused", f"verify: {[check.detail for check in checks]}"
    if labels.shape != truth.shape or labels.dtype != truth.dtype or labels.max(initial=0) >= CLASSES:
        return "wrong", f"labels of {labels.shape} {labels.dtype} up to {labels.max(initial=0)}"
    agreement = float(np.mean(labels == truth))
    return ("right" if agreement >= OTHER_NETWORK else "other"), f"{agreement:.2%} of the labels, and verify passes"


def _refusal(exc: EdgeVsegError) -> tuple[Outcome, str]:
    text = str(exc)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "wrong", f"the message cannot be printed: {text!r}"
    return "refused", f"{type(exc).__name__}: {text[:200]}"
