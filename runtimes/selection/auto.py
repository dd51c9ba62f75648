"""Choose the fastest variant on this machine, or the one that a schedule needs, and remember what was timed."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Manifest, Precision, Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.cpu import CpuInfo, cpu_features
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.probing import VariantProbe
from edge_vseg.runtimes.selection.cache import (
    MAX_DEATHS,
    CachedChoice,
    CachedTiming,
    cache_key,
    read_choice,
    write_choice,
)
from edge_vseg.runtimes.selection.compatibility import fit_options, split_by_fit, wants_gpu
from edge_vseg.runtimes.selection.group_timing import time_group, time_in_child
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed, pick_timed

logger = logging.getLogger(__name__)

ROUNDS = 15
FLOAT16_GAIN = 1.05
"""How many times faster than float a float16 variant must be: less is noise where a CPU computes both in float32."""
NO_NEED = ScheduleNeed()
REJECTED_AT_EXPORT = "int8 lost more accuracy than allowed at export, and another variant opens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variant chosen, and the measurements behind the choice.

    Attributes:
        variant: The variant.
        options: The caller's options, with the provider that was timed.
        origin: ``measured`` now, or remembered in the ``cache``.
        table: All variants considered, in the manifest's order.
    """

    variant: Variant
    options: SessionOptions
    origin: Literal["measured", "cache"]
    table: tuple[CachedTiming, ...]

    @property
    def summary(self) -> str:
        """One line for users: the variant, its speed, and when it was timed."""
        medians_ms = _medians(self.table)
        median_ms = medians_ms.get(self.variant.id)
        speed = "" if median_ms is None else f" ({median_ms:.1f} ms)"
        when = "just now" if self.origin == "measured" else "on an earlier run"
        fastest = min(medians_ms, key=medians_ms.__getitem__, default=self.variant.id)
        if fastest == self.variant.id:
            return f"{self.variant.id}{speed}, fastest of {len(medians_ms)} timed {when}"
        return (
            f"{self.variant.id}{speed}, fastest that the policy can spread over frames, of {len(medians_ms)} timed"
            f" {when}; {fastest} ({medians_ms[fastest]:.1f} ms) cannot be"
        )


def choose_variant(
    bundle: Bundle,
    *,
    options: SessionOptions,
    precision: Precision | None = None,
    need: ScheduleNeed = NO_NEED,
    cache: Path | None = None,
    probe: VariantProbe | None = None,
    cpu: CpuInfo | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
    rounds: int = ROUNDS,
) -> Choice:
    """Choose the fastest variant that this machine can open, of those that a schedule can make use of.

    Times the variants made for this machine (:func:`split_by_fit`) in turns, on noise; all are open meanwhile, which
    costs memory. Variants of status ``drop`` are timed only if nothing else opens, and float16 ones count only if they
    are faster than float in the same runtime. The cached choice is used until the
    bundle, the options, edge-vseg, a runtime's version or the CPU changes; but where a variant killed the child process
    that timed it, or kept it too long, all are timed again at the next starts, up to :data:`MAX_DEATHS` times in all.

    Args:
        bundle: The bundle; its files are opened unchecked.
        options: How the session will be opened. An empty provider is filled in on a Jetson.
        precision: Consider only variants of this precision.
        need: What the schedule asks for.
        cache: The file to remember in; ``None`` for no memory.
        probe: Opens and times them in a child process, which a graph may kill; ``None`` for this process.
        cpu: The CPU to select for; ``None`` for this machine's.
        clock: Nanoseconds, in this process.
        rounds: Timed runs of each variant.

    Raises:
        OptionError: If ``rounds`` is below 1, or the bundle has no variant of that precision.
        BackendError: If no variant can be opened; the message has the reason for each, and the pip commands.
    """
    if rounds < 1:
        raise OptionError(f"rounds must be at least 1, got {rounds}; the default is {ROUNDS}")
    cpu = cpu or cpu_features()
    variants = _of_precision(bundle.manifest, precision)
    providers = gpu_providers(variants, cpu)
    key = cache_key(bundle.sha256, variants, options, precision, cpu)
    cached = read_choice(cache, key) if cache is not None else None
    in_child = probe is not None and probe.active
    choice = _cached_choice(cached, variants, need, options, providers, in_child=in_child)
    if choice is None:
        if probe is not None and in_child:
            timer = functools.partial(time_in_child, probe=probe, rounds=rounds)
        else:
            timer = functools.partial(time_group, root=bundle.root, rounds=rounds, clock=clock)
        failures = _failures(bundle.manifest, precision)
        choice = _measure(bundle, variants, failures, need, options, cpu, providers, timer)
        if cached is not None:
            choice = replace(choice, table=tuple(_counted(row, cached.deaths) for row in choice.table))
        if cache is not None:
            write_choice(cache, key, CachedChoice(variant_id=choice.variant.id, table=choice.table))
    if choice.variant.status == "drop":
        asked = f" with precision {precision}" if precision else ""
        logger.warning("%s; nothing else opens here%s", describe_drop(choice.variant), asked)
    logger.info("variant: %s", choice.summary)
    return choice


def describe_drop(variant: Variant) -> str:
    """What is wrong with a variant of status ``drop``: how far it agrees with float, and what the export said."""
    agreement = "" if variant.parity is None else f" (agreement with float {variant.parity.pixel_agreement:.1%})"
    reason = f": {variant.reason}" if variant.reason else ""
    return f"{variant.id} lost more accuracy than allowed at export{agreement}{reason}"


def _of_precision(manifest: Manifest, precision: Precision | None) -> list[Variant]:
    variants = [v for v in manifest.variants if precision in (None, v.precision)]
    if not variants and not _failures(manifest, precision):
        available = ", ".join(sorted({v.precision for v in manifest.variants})) or "no variants"
        raise OptionError(f"bundle {manifest.name!r} has no variant of precision {precision!r}; it has: {available}")
    return variants


def _failures(manifest: Manifest, precision: Precision | None) -> list[CachedTiming]:
    """A row without a time for each variant whose export failed."""
    return [
        CachedTiming(variant_id=f.id, median_ms=None, reason=f.message)
        for f in manifest.failed
        if precision in (None, f.precision)
    ]


def gpu_providers(variants: Sequence[Variant], cpu: CpuInfo) -> dict[str, tuple[str, ...]]:
    """Providers by runtime, where a GPU may be of use: listing them loads the runtime.

    Args:
        variants: The variants that :func:`split_by_fit` is asked about.
        cpu: The CPU; only arm64, as on a Jetson, has a GPU that variants are made for.
    """
    if cpu.architecture != "arm64":
        return {}
    providers = {}
    for name in {v.runtime for v in variants if wants_gpu(v)}:
        with contextlib.suppress(BackendError, OptionError):  # opening its other variants reports the cause
            providers[name] = get_runtime(name).providers()
    return providers


def _counted(row: CachedTiming, before: Mapping[str, int]) -> CachedTiming:
    """A row whose deaths count on from those before."""
    return msgspec.structs.replace(row, deaths=row.deaths + before.get(row.variant_id, 0)) if row.deaths else row


def _cached_choice(
    cached: CachedChoice | None,
    variants: Sequence[Variant],
    need: ScheduleNeed,
    options: SessionOptions,
    providers: Mapping[str, tuple[str, ...]],
    *,
    in_child: bool,
) -> Choice | None:
    by_id = {variant.id: variant for variant in variants}
    if cached is None or cached.variant_id not in by_id:
        return None
    if in_child and any(deaths < MAX_DEATHS for deaths in cached.deaths.values()):
        return None  # what killed or kept the process may have been the moment, and the variant may be the fastest
    medians_ms = {name: ms for name, ms in _medians(cached.table).items() if name in by_id}
    variant = pick_timed(medians_ms, by_id, need) if medians_ms else by_id[cached.variant_id]
    chosen = fit_options(variant, options, providers.get(variant.runtime, ()))
    return Choice(variant=variant, options=chosen, origin="cache", table=cached.table)


def _measure(
    bundle: Bundle,
    variants: Sequence[Variant],
    failures: Sequence[CachedTiming],
    need: ScheduleNeed,
    options: SessionOptions,
    cpu: CpuInfo,
    providers: Mapping[str, tuple[str, ...]],
    timer: Callable[[Sequence[Variant], Mapping[str, SessionOptions]], dict[str, CachedTiming]],
) -> Choice:
    fit, unfit = split_by_fit(variants, cpu, providers)
    rows = {name: CachedTiming(variant_id=name, median_ms=None, reason=reason) for name, reason in unfit.items()}
    options_by_id = {v.id: fit_options(v, options, providers.get(v.runtime, ())) for v in fit}
    for group in ([v for v in fit if v.status != "drop"], [v for v in fit if v.status == "drop"]):
        timings = _prefer_float(timer(group, options_by_id), group)
        rows |= timings
        medians_ms = _medians(timings.values())
        if not medians_ms:
            continue
        rows |= {
            v.id: CachedTiming(variant_id=v.id, median_ms=None, reason=REJECTED_AT_EXPORT)
            for v in fit
            if v.id not in rows
        }
        best = pick_timed(medians_ms, {v.id: v for v in group}, need)
        table = (*(rows[v.id] for v in variants), *failures)
        return Choice(variant=best, options=options_by_id[best.id], origin="measured", table=table)
    reasons = "\n".join(f"  {row.variant_id}: {row.reason}" for row in (*(rows[v.id] for v in variants), *failures))
    raise BackendError(f"no variant of bundle {bundle.manifest.name!r} can be opened on this machine:\n{reasons}")


def _medians(rows: Iterable[CachedTiming]) -> dict[str, float]:
    return {row.variant_id: row.median_ms for row in rows if row.median_ms is not None}


def _prefer_float(timings: dict[str, CachedTiming], group: Sequence[Variant]) -> dict[str, CachedTiming]:
    """Leave out float16 where the float variant of the same runtime is as fast, and has all parts that it has."""
    medians_ms = _medians(timings.values())
    chosen = dict(timings)
    for half in (v for v in group if v.precision == "float16" and v.id in medians_ms):
        for full in (v for v in group if v.precision == "float" and v.runtime == half.runtime and v.id in medians_ms):
            gain = medians_ms[full.id] / medians_ms[half.id]
            if gain < FLOAT16_GAIN and all(a or not b for a, b in zip(_parts(full), _parts(half), strict=True)):
                reason = f"{medians_ms[half.id]:.1f} ms, and {full.id}, which is exact, {medians_ms[full.id]:.1f} ms"
                chosen[half.id] = CachedTiming(variant_id=half.id, median_ms=None, reason=reason)
    return chosen


def _parts(variant: Variant) -> tuple[bool, bool, bool]:
    return bool(variant.slices), variant.context is not None, variant.tile is not None
