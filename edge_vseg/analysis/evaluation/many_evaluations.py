"""Evaluations as jobs: what one does on any machine, what it reads, and what its record is known by."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_vseg.analysis.evaluation.evaluation_data import EvaluationData
from edge_vseg.analysis.evaluation.evaluation_record import SCHEMA, Conditions, evaluation_record
from edge_vseg.analysis.evaluation.policy_evaluation import EvaluationOptions, evaluate_policy
from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.cluster.contents import contents_of
from edge_vseg.errors import CalibrationError, ManifestError, OptionError
from edge_vseg.files import write_whole
from edge_vseg.input_files import read_regular, strict_json
from edge_vseg.motion import CODEC
from edge_vseg.runtimes.installed_versions import choosable, installed_versions
from edge_vseg.scheduling.device_profile import machine_key, profile_folder, read_device_profile
from edge_vseg.scheduling.policies import Policy

_KEY_LENGTH, _NAME_LENGTH = 16, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationJob:
    """One evaluation.

    Attributes:
        bundle: The bundle.
        data: What it is evaluated on.
        policy: The policy.
        options: How.
        command: The command line, for the record.
    """

    bundle: Path
    data: EvaluationData
    policy: Policy
    options: EvaluationOptions
    command: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files and folders that it reads."""
        options = self.options
        more = (options.replay, options.companion, options.against)
        return (self.bundle, self.data.path, *(path for path in more if path is not None))

    @property
    def conditions(self) -> Conditions:
        """The conditions of its record."""
        options = self.options
        return Conditions(
            data=self.data.name,
            threads=options.threads,
            settings=options.schedule_text(self.policy),
            rate=options.rate,
            replay=options.replay,
            network_scale=options.network_scale,
            against=options.against,
            command=self.command,
        )


def every_evaluation(
    template: EvaluationJob, data: Sequence[EvaluationData], profiles: Sequence[Path]
) -> list[EvaluationJob]:
    """One job for each data and device profile, or for each data without profiles.

    Replayed costs do not depend on threads, so those jobs have one each unless the template says otherwise. The
    variant is the one of the profile: the fastest one, which is the default, depends on who measures.
    """
    if not profiles:
        return [replace(template, data=each) for each in data]
    return [
        replace(template, data=each, options=_replaying(template, profile)) for each in data for profile in profiles
    ]


def evaluate_job(job: EvaluationJob, files: Callable[[Path], Path]) -> dict[str, Any]:
    """The record of an evaluation, as if it had run where its files come from.

    Args:
        job: The evaluation.
        files: Gives the path here of each of its paths.

    Raises:
        EdgeVsegError: As :func:`~edge_vseg.analysis.evaluation.evaluate_policy`, or if frames cannot be read.
    """
    bundle, options = files(job.bundle), job.options
    moved = replace(
        options,
        replay=options.replay and files(options.replay),
        companion=options.companion and files(options.companion),
        against=options.against and files(options.against),
    )
    frames, video_rate = job.data.at(files).read(bundle, codec_motion=job.policy.motion == CODEC)
    score = evaluate_policy(bundle, frames, job.policy, replace(moved, video_rate=video_rate))
    record = evaluation_record(bundle, score, replace(job, options=moved).conditions)
    names = {name: None if (path := getattr(options, name)) is None else str(path) for name in ("replay", "against")}
    return record | names | {"bundle": str(job.bundle)}


def evaluation_keys(jobs: Iterable[EvaluationJob]) -> list[str]:
    """What decides the figures of each evaluation, as a hash: contents and settings, not names and places.

    Raises:
        OptionError: If a file cannot be read.
        BundleError: If the bundle cannot be opened.
    """
    hashes: dict[Path, str] = {}

    def content(path: Path | None) -> str | None:
        if path is not None and path not in hashes:
            hashes[path] = contents_of(path).sha256
        return None if path is None else hashes[path]

    return [_key(job, content) for job in jobs]


def _key(job: EvaluationJob, content: Callable[[Path | None], str | None]) -> str:
    options = job.options
    opened = open_bundle(job.bundle)
    tree = {
        "schema": SCHEMA,
        "version": metadata.version("edge-vseg"),
        "bundle": opened.sha256,
        "runtimes": installed_versions(_openable(job, opened)),
        "data": [content(job.data.path), job.data.part],
        "against": None if options.against is None else open_bundle(options.against).sha256,
        "replay": content(options.replay),
        "measured": None if options.replay is not None else _measured_on(job.bundle, content),
        "scale": [options.network_scale, options.rate, options.deadline_ms],
        "settings": options.schedule_text(job.policy),
        "variant": [options.runtime, options.precision, options.variant, options.provider, options.threads],
        "provider_options": sorted(options.provider_options.items()),
    }
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def _openable(job: EvaluationJob, bundle: Bundle) -> list[Variant]:
    """The variants that an evaluation may open, of all its bundles."""
    options, variants = job.options, bundle.manifest.variants
    chosen_by_name = options.runtime != "auto" or options.precision is not None or options.variant
    if options.replay is not None and not chosen_by_name:
        options = _replaying(job, options.replay)
    runtime, precision = options.runtime, options.precision
    found = choosable(variants, runtime=runtime, precision=precision, variant=options.variant)
    if options.against is not None:
        others = open_bundle(options.against).manifest.variants
        same = options.variant if options.variant in [each.id for each in others] else ""
        found += choosable(others, runtime=runtime, precision=precision, variant=same)
    if options.companion is not None:
        chosen = next((each for each in variants if each.id == options.variant), None)
        if chosen is not None:
            runtime, precision = chosen.runtime, chosen.precision
        found += choosable(open_bundle(options.companion).manifest.variants, runtime=runtime, precision=precision)
    return found


def _measured_on(bundle: Path, content: Callable[[Path | None], str | None]) -> list[str | None]:
    """This machine, and the device profiles beside a bundle, which policies start from."""
    folder = profile_folder(bundle)
    return [machine_key(), content(folder) if folder.is_dir() else None]


def write_record(folder: Path, key: str, job: EvaluationJob, record: Mapping[str, Any]) -> Path:
    """Write the record of an evaluation, whole or not at all.

    Args:
        folder: The folder.
        key: Of :func:`evaluation_keys`.
        job: The evaluation.
        record: Its record.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / _record_name(job, key[:_KEY_LENGTH])
    write_whole(path, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")
    return path


def _record_name(job: EvaluationJob, key: str) -> str:
    names = [job.data.path.stem, *([] if job.options.replay is None else [job.options.replay.stem])]
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_NAME_LENGTH] or "_" for name in names]
    return ".".join((*plain, key, "json"))


def other_records(folder: Path, jobs: Iterable[EvaluationJob], keys: Iterable[str]) -> int:
    """How many records a folder has of the same data and profiles under other keys than these."""
    known = {key[:_KEY_LENGTH] for key in keys}
    paths = {path for job in jobs for path in folder.glob(_record_name(job, "?" * _KEY_LENGTH))}
    return sum(path.name.split(".")[-2] not in known for path in paths)


def read_record(folder: Path, key: str) -> dict[str, Any] | None:
    """The record of an evaluation that was written before; ``None`` if there is none.

    Raises:
        OptionError: If there is one that cannot be read.
    """
    for path in folder.glob(f"*.{key[:_KEY_LENGTH]}.json"):
        try:
            record = strict_json(read_regular(path))
            if record["kind"] == "evaluation" and record["schema"] == SCHEMA:
                return dict(record)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise OptionError(f"{path} is damaged: {exc}; remove it to have it done again") from exc
    return None


def _replaying(template: EvaluationJob, profile: Path) -> EvaluationOptions:
    options = replace(template.options, replay=profile, threads=template.options.threads or 1)
    try:
        variant = open_bundle(template.bundle).manifest.variant(read_device_profile(profile).variant)
    except (CalibrationError, ManifestError):
        return options  # the job says what is wrong with it
    if options.runtime not in ("auto", variant.runtime) or options.precision not in (None, variant.precision):
        return options
    return replace(options, variant=variant.id)
