"""Step 7: write the bundle and its report, in one step for whoever reads it."""

from __future__ import annotations

import logging
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec

from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, Bundle, Staging
from edge_vseg.bundle.manifest import (
    CalibrationSpec,
    FailedVariant,
    FrameSpec,
    HeadSpec,
    Label,
    Manifest,
    SourceSpec,
    Variant,
    schema_version,
)
from edge_vseg.errors import ExportError, ParityError
from edge_vseg.export.export_report import write_report
from edge_vseg.export.float_graph import warn_if_constant
from edge_vseg.export.pipeline.job import ExportJob
from edge_vseg.export.pipeline.tool_versions import tool_versions
from edge_vseg.export.pipeline.validate_step import ValidatedVariants
from edge_vseg.export.variant_files import list_variant_files
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.types import Size

log = logging.getLogger(__name__)
REPORT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        warnings: What its maker should look at.
        notes: What else was decided, such as whether fine-tuning helped.
    """

    path: Path
    manifest: Manifest
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def troubled(self) -> tuple[Variant | FailedVariant, ...]:
        """Variants that failed, differ from float by more than allowed, or are not as fast as asked."""
        missed = ("drop", "slower-than-asked")
        return (*(v for v in self.manifest.variants if v.status in missed), *self.manifest.failed)

    def require_parity(self) -> None:
        """Raise if any variant is troubled, for scripts that must not go on with it.

        Raises:
            ParityError: Naming the variants and what is wrong with them.
        """
        if self.troubled:
            reasons = "; ".join(
                f"{v.id} ({'failed' if isinstance(v, FailedVariant) else v.status}): {v.reason}" for v in self.troubled
            )
            raise ParityError(f"{self.path}: {reasons}; see report.html, or calibrate with a longer video")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleContent:
    """What goes into a bundle.

    Attributes:
        labels: The classes.
        size_hw: Input size.
        head: What the graphs give.
        source: The trained network.
        calibration: The sample frames.
        validated: The variants, in the work folder; those of a precision not asked for are left out already.
    """

    labels: tuple[Label, ...]
    size_hw: Size
    head: HeadSpec
    source: SourceSpec
    calibration: CalibrationSpec
    validated: ValidatedVariants


def write_bundle(job: ExportJob, staging: Staging, content: BundleContent, old: Bundle | None = None) -> Exported:
    """Copy the variants into the bundle, write report and manifest, and put the bundle in place.

    Args:
        job: The export.
        staging: The bundle being staged.
        content: What goes in.
        old: The bundle whose report and check frame are kept, if nothing was validated.

    Raises:
        ExportError: If there is not a single variant.
        BundleWriteError: If it cannot be written.
    """
    validated = content.validated
    if not validated.variants:
        failures = "; ".join(f"{failure.id}: {failure.reason}" for failure in validated.failed)
        raise ExportError(f"no graph could be made: {failures}")
    job.progress("writing the bundle")
    variants = tuple(list_variant_files(job.work.variants, each.variant) for each in validated.variants)
    sources = {name: job.work.variants / name for variant in variants for name in variant.files}
    try:
        for name, source in sources.items():
            (staging.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staging.root / name)
        return _finish_bundle(job, staging, content, variants, old)
    except OSError as exc:
        raise staging.failed(exc, needed=sum(path.stat().st_size for path in sources.values())) from exc


def _finish_bundle(
    job: ExportJob, staging: Staging, content: BundleContent, variants: tuple[Variant, ...], old: Bundle | None
) -> Exported:
    """Write all but the variants, and put the bundle in place."""
    frame = FrameSpec(size_hw=content.size_hw, color=content.source.frame_color, resize=job.resize)
    manifest = Manifest(
        schema_version=schema_version(frame, content.head),
        name=staging.target.name.removesuffix(".evseg"),
        labels=content.labels,
        frame=frame,
        head=content.head,
        source=content.source,
        variants=variants,
        failed=content.validated.failed,
        calibration=content.calibration,
        files=staging.list_files(),
        made_with=tool_versions() if old is None else old.manifest.made_with,
        made_on=_machine() if old is None else old.manifest.made_on,
    )
    warning = _write_pictures(job, staging, content, manifest) if old is None else _keep_pictures(staging, old)
    manifest = msgspec.structs.replace(manifest, files=staging.list_files())
    staging.commit(manifest)
    if warning:
        log.warning(warning)
    return Exported(path=staging.target, manifest=manifest, warnings=(warning,) if warning else ())


def _machine() -> dict[str, str]:
    return {"cpu": cpu_features().model, "machine": platform.machine(), "system": platform.system()}


def _write_pictures(job: ExportJob, staging: Staging, content: BundleContent, manifest: Manifest) -> str:
    """Write the check frame and the report; gives a warning or nothing."""
    frames, validated = job.validation_frames(content.size_hw), content.validated
    (staging.root / CHECK_FRAME).parent.mkdir()
    for name, picture in ((CHECK_FRAME, frames[0]), (CHECK_LABELS, validated.baseline[0])):
        # OpenCV's own writer says nothing of a full disk.
        (staging.root / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    warning = warn_if_constant(list(validated.baseline), job.options.thresholds.constant_share)
    write_report(staging.root / REPORT, manifest, frames, validated.baseline, validated.variants, warning)
    return warning


def _keep_pictures(staging: Staging, old: Bundle) -> str:
    for name in (CHECK_FRAME, CHECK_LABELS, REPORT):
        if name in old.manifest.files:
            (staging.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old.file(name), staging.root / name)
    return ""
