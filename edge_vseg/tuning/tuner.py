"""Find the best settings of networks on a clip for a device."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import edge_vseg
from edge_vseg.bundle import Bundle
from edge_vseg.cluster import JobFailure, Workers, open_workers
from edge_vseg.errors import OptionError
from edge_vseg.imaging.letterbox import borders_can_be_guided
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.runtimes.installed_versions import installed_versions
from edge_vseg.scheduling.device_profile import DeviceProfile, machine_key, profile_folder, read_device_profile
from edge_vseg.scheduling.policies import POLICIES
from edge_vseg.scheduling.steps import GUIDED_LABELS, companion_step
from edge_vseg.tuning.clip import Clip, content_sha256
from edge_vseg.tuning.front import Recommendation, StudyTrial, recommend
from edge_vseg.tuning.networks import network_sha256
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.space import SearchSpace, common_variants, openable
from edge_vseg.tuning.study import SamplerName, Study, alone_in
from edge_vseg.tuning.trial import TrialJob, run_trial
from edge_vseg.tuning.trial_cache import TrialCache
from edge_vseg.tuning.wish import Figures, Wish

log = logging.getLogger(__name__)

REPLAYED_ROUND = 8
"""Settings that are proposed at a time where costs are replayed. As many however many workers there are, so that the
result does not depend on that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """How to tune.

    Attributes:
        wish: The limits, and the rate of the frames.
        trials: Trials in all; a study that has more already is not run again.
        profiles: Device profiles to replay; empty to measure on this machine.
        network_scale: Replay networks that take so many times as long.
        companions: Names of the networks that accompany others, instead of being tuned.
        cluster: Address of a Ray cluster for trials that are replayed, or ``local``; ``None`` for none.
        processes: Processes of this machine for them.
        seed: Of the sampler.
        sampler: ``random`` for comparison.
    """

    wish: Wish
    trials: int = 60
    profiles: tuple[Path, ...] = ()
    network_scale: float = 1.0
    companions: tuple[str, ...] = ()
    cluster: str | None = None
    processes: int = 1
    seed: int = 0
    sampler: SamplerName = "tpe"

    def __post_init__(self) -> None:
        """Raise OptionError for numbers out of range and options that contradict each other."""
        if self.trials < 1:
            raise OptionError(f"a study needs at least one trial, got {self.trials}")
        if not self.profiles and (self.cluster is not None or self.processes > 1):
            raise OptionError(
                "trials that measure run one at a time, or they would measure each other; give a device profile to"
                " replay (edge-vseg calibrate writes one), or leave out the cluster and the processes"
            )
        if not self.profiles and self.network_scale != 1:
            raise OptionError("only replayed costs can be scaled; give a device profile to replay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning found.

    Attributes:
        trials: All trials.
        recommended: Up to three settings; empty if nothing keeps the limits.
        importances: How much each parameter matters for the quality.
        left_out: What was not tried, and why.
        machine: The device.
        clip: What trials ran on.
        profiles: Device profiles that were replayed, by network and variant.
    """

    trials: list[StudyTrial]
    recommended: list[Recommendation]
    importances: dict[str, float]
    left_out: Mapping[str, str]
    machine: str
    clip: Clip
    profiles: Mapping[tuple[str, str], Path]


def make_job(setting: Setting, networks: Mapping[str, Bundle], tuned: Tuned, options: TuneOptions) -> TrialJob:
    """The job of a setting of a study, to run it again."""
    device = _Device(machine=tuned.machine, profiles=tuned.profiles)
    return _Workshop(networks=networks, clip=tuned.clip, device=device, options=options).job(setting)


def tune(
    networks: Mapping[str, Bundle],
    clip: Clip,
    folder: Path,
    options: TuneOptions,
    progress: Callable[[int], None] = lambda done: None,
) -> Tuned:
    """Run a study, or go on with it.

    Args:
        networks: Bundles by name, the largest input first.
        clip: What trials run on.
        folder: Holds the study; made if it is not there.
        options: How.
        progress: Called with the number of trials done.

    Raises:
        OptionError: If a profile is of another bundle, nothing is left to try, or the folder is in use.
        BackendMissingError: If Optuna is not installed.
    """
    with alone_in(folder):
        return _tune(networks, clip, folder, options, progress)


def _tune(
    networks: Mapping[str, Bundle], clip: Clip, folder: Path, options: TuneOptions, progress: Callable[[int], None]
) -> Tuned:
    left_out: dict[str, str] = {}
    device = _Device.of(networks, options)
    space = _space(networks, clip, device, options, left_out)
    workshop = _Workshop(networks=networks, clip=clip, device=device, options=options)
    contents = _contents(networks, clip, device)
    versions = _versions(networks, space.variants)
    cache = TrialCache(folder / "trials", contents, versions, "" if options.profiles else _measured_on(networks))
    about = json.dumps(
        [
            sorted((path.name, content) for path, content in contents.items()),
            [*space.networks, "", *space.companions],
            [*space.variants, *versions.values(), *map(str, space.threads)],
            [asdict(options.wish), options.network_scale, device.machine, edge_vseg.__version__],
        ]
    )
    with (
        Study.open(folder, space, about, seed=options.seed, sampler=options.sampler) as study,
        open_workers(options.cluster, options.processes, inputs=list(contents)) as workers,
    ):
        progress(study.done)
        study.run(
            options.trials,
            lambda settings: workshop.evaluate(settings, workers, cache),
            REPLAYED_ROUND if options.profiles else 1,
            progress,
        )
        trials = study.trials()
        return Tuned(
            trials=trials,
            recommended=recommend(trials, options.wish),
            importances=study.importances(),
            left_out=left_out,
            machine=device.machine,
            clip=clip,
            profiles=device.profiles,
        )


def _contents(networks: Mapping[str, Bundle], clip: Clip, device: _Device) -> dict[Path, str]:
    """What trials read, and its hash. It takes seconds for a long video."""
    paths = (clip.frames, clip.truth, *device.profiles.values())
    return {bundle.root: network_sha256(bundle) for bundle in networks.values()} | {
        path: content_sha256(path) for path in paths
    }


def _versions(networks: Mapping[str, Bundle], variants: Iterable[str]) -> dict[str, str]:
    """What each variant that may be tried runs on: no other runtime's version decides what a trial gives."""
    known = {variant.id: variant for bundle in networks.values() for variant in bundle.manifest.variants}
    return {name: str(installed_versions([known[name]])) for name in variants}


def _measured_on(networks: Mapping[str, Bundle]) -> str:
    """This machine, and the device profiles beside the bundles, which the policy deadline starts from."""
    folders = [profile_folder(bundle.root) for bundle in networks.values()]
    return " ".join([machine_key(), *(content_sha256(folder) for folder in folders if folder.is_dir())])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """What trials run on: this machine, or the profiles of another, by network and variant."""

    machine: str
    profiles: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    @classmethod
    def of(cls, networks: Mapping[str, Bundle], options: TuneOptions) -> _Device:
        if not options.profiles:
            return cls(machine=machine_key())
        known: dict[tuple[str, str], Path] = {}
        machines: dict[str, DeviceProfile] = {}
        for path in options.profiles:
            profile = read_device_profile(path)
            machines[profile.machine] = profile
            names = [name for name, bundle in networks.items() if bundle.sha256 == profile.bundle_sha256]
            if not names:
                raise OptionError(
                    f"{path} is of another bundle ({profile.bundle_sha256[:12]}) than {', '.join(networks)};"
                    " calibrate the bundle that you tune"
                )
            if (names[0], profile.variant) in known:
                raise OptionError(
                    f"{known[names[0], profile.variant]} and {path} are both of {profile.variant} of {names[0]}; give"
                    " one of them"
                )
            known[names[0], profile.variant] = path
        if len(machines) > 1:
            raise OptionError(f"the profiles are of {len(machines)} machines: {', '.join(machines)}; tune for one")
        return cls(machine=next(iter(machines)), profiles=known)


def _space(
    networks: Mapping[str, Bundle], clip: Clip, device: _Device, options: TuneOptions, left_out: dict[str, str]
) -> SearchSpace:
    tuned = {name: bundle for name, bundle in networks.items() if name not in options.companions}
    companions = options.companions
    if device.profiles:
        for name in [name for name in tuned if name not in {network for network, _ in device.profiles}]:
            left_out[name] = "there is no device profile of it"
            del tuned[name]
    if not tuned:
        raise OptionError("there is no network to tune; give one that is no companion")
    variants = common_variants(tuned, left_out)
    if not device.profiles:
        variants = openable(next(iter(tuned.values())), variants, left_out)
    if device.profiles:
        for variant in variants:
            lacking = [name for name in tuned if (name, variant) not in device.profiles]
            if lacking:
                left_out[variant] = f"there is no device profile of it for {lacking[0]}"
        variants = tuple(name for name in variants if name not in left_out)
        if not variants:
            raise OptionError("no variant has a device profile for every network; give more --device files")
        used = [device.profiles[name, variant] for name in tuned for variant in variants]
        timed = set.intersection(*(set(read_device_profile(path).costs) for path in used))
        for name in companions:
            if companion_step(networks[name].sha256) not in timed:
                left_out[f"companion {name}"] = "not every device profile has its cost; calibrate with --companion"
        companions = tuple(name for name in companions if f"companion {name}" not in left_out)
    space = SearchSpace(
        networks=tuned,
        variants=variants,
        wish=options.wish,
        threads=(0,) if device.profiles else tuple(sorted({0, 1, usable_cores()})),
        companions=companions,
        guided=_guided(tuned, variants, clip, device, left_out),
        left_out=left_out,
    )
    possible = {name for network in tuned for variant in variants for name in space.policies(network, variant)}
    for name, policy in POLICIES.items():
        if name not in possible:
            left_out[name] = f"no variant has {policy.needs}"
    return space


def _guided(
    tuned: Mapping[str, Bundle], variants: Iterable[str], clip: Clip, device: _Device, left_out: dict[str, str]
) -> tuple[str, ...]:
    """Names of the networks whose borders can be guided, at a known cost."""
    possible = [
        name
        for name, bundle in tuned.items()
        if borders_can_be_guided(bundle.manifest.head, bundle.manifest.frame, clip.size_hw)
    ]
    profiles = {name: [device.profiles[name, each] for each in variants] for name in possible if device.profiles}
    lacking = {
        name: path
        for name, paths in profiles.items()
        for path in paths
        if GUIDED_LABELS not in read_device_profile(path).costs
    }
    if lacking:
        left_out["guided borders"] = (
            f"{next(iter(lacking.values()))} lacks their cost; calibrate {', '.join(lacking)} again"
        )
    return tuple(name for name in possible if name not in lacking)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Workshop:
    """Makes jobs of settings, and runs those that were never run."""

    networks: Mapping[str, Bundle]
    clip: Clip
    device: _Device
    options: TuneOptions

    def evaluate(
        self, settings: Mapping[int, Setting], workers: Workers, cache: TrialCache
    ) -> Iterator[tuple[int, Figures | str]]:
        jobs = {number: self.job(setting) for number, setting in settings.items()}
        fresh: dict[int, TrialJob] = {}
        for number, job in jobs.items():
            known = cache.get(job)
            if known is None:
                fresh[number] = job
            else:
                yield number, known
        numbers = list(fresh)
        for index, answer in workers.run(run_trial, list(fresh.values())):
            number = numbers[index]
            if isinstance(answer, JobFailure):
                log.info("trial %d failed: %s", number, answer.message)
                yield number, f"{answer.kind}: {answer.message}"
                continue
            cache.put(fresh[number], answer)
            yield number, answer

    def job(self, setting: Setting) -> TrialJob:
        """The job of a setting."""
        return TrialJob(
            setting=setting,
            bundle=self.networks[setting.network].root,
            companion=self.networks[setting.companion].root if setting.companion else None,
            frames=self.clip.frames,
            truth=self.clip.truth,
            count=self.clip.count,
            least_share=self.clip.least_share,
            wish=self.options.wish,
            profile=self.device.profiles.get((setting.network, setting.variant)),
            network_scale=self.options.network_scale,
        )
