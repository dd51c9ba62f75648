"""The search space: what a study may vary, and what was left out of it and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.motion import ESTIMATORS, STILL
from edge_vseg.scheduling.policies import POLICIES, EveryFrame
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.wish import Wish

Value: TypeAlias = "int | float | str"
MOTIONS = tuple(name for name in ESTIMATORS if name != STILL)
LEAST_AIM = 0.6
"""Least share of the deadline that the policy deadline aims at: the rest is reserve for what it does not foresee."""
LEAST_SHARE = 0.15
"""Least part of the share of the cores that may be used, which the policy deadline uses."""
MAX_AGES = (4, 30)
PERIODS = (1, 12)
DRIFTS = (0.005, 0.2)
CONSULTING = ("deadline", "async")


class Chooser(Protocol):
    """Proposes values: what of an Optuna trial the space uses."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...  # noqa: D102

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...  # noqa: D102

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchSpace:
    """What a study may vary.

    Attributes:
        networks: Bundles by name, the largest input first.
        variants: Ids of the variants that every one of them has.
        wish: What is asked of the result.
        threads: Numbers of worker threads to try; 0 is the runtime's choice.
        companions: Names of companions, other bundles than ``networks``.
        guided: Names of the networks that are tried with guided borders, too.
        left_out: What cannot be tried, and why.
    """

    networks: Mapping[str, Bundle]
    variants: tuple[str, ...]
    wish: Wish
    threads: tuple[int, ...] = (0,)
    companions: tuple[str, ...] = ()
    guided: tuple[str, ...] = ()
    left_out: Mapping[str, str]

    def suggest(self, trial: Chooser) -> Setting:
        """The setting that a trial proposes."""
        network = _choice(trial, "network", tuple(self.networks))
        variant = _choice(trial, "variant", self.variants)
        policies = self.policies(network, variant)
        # Names tell sets of policies apart: a category has the same choices throughout a study.
        name = "policy" if len(policies) == len(POLICIES) else f"policy ({', '.join(policies)})"
        policy = _choice(trial, name, policies)
        kinds = self._borders(network)
        borders = _choice(trial, "borders", kinds) if len(kinds) > 1 else kinds[0]
        companion = ""
        if policy in CONSULTING and self.companions:
            companion = _choice(trial, f"{policy}.companion", ("", *self.companions))
        return Setting(
            network=network,
            variant=variant,
            policy=policy,
            parameters=_PARAMETERS[policy](trial, self.wish),
            threads=int(trial.suggest_categorical("threads", self.threads)),
            borders="guided" if borders == "guided" else "interpolated",
            companion=companion,
        )

    def policies(self, network: str, variant: str) -> tuple[str, ...]:
        """Policies that a variant of a network has the parts for."""
        graph = self.networks[network].manifest.variant(variant)
        return tuple(name for name, policy in POLICIES.items() if has_parts(graph, str(policy.needs)))

    def default(self) -> dict[str, Value]:
        """What a user gets who tunes nothing: the policy deadline, or else every frame, on the largest network."""
        network, variant = next(iter(self.networks)), self.variants[0]
        policies = self.policies(network, variant)
        name = "policy" if len(policies) == len(POLICIES) else f"policy ({', '.join(policies)})"
        plain: dict[str, Value] = {"network": network, "variant": variant, "borders": "interpolated"}
        plain["threads"] = self.threads[0]
        plain |= {f"{policy}.companion": "" for policy in CONSULTING} if self.companions else {}
        if self.wish.deadline_ms is None:
            return plain | {name: "every-frame"}
        values: dict[str, Value] = {"aim": 1.0, "max_age_frames": 12, "min_drift": 0.003, "motion": "dis-half"}
        values["cpu_share"] = self.wish.cpu_share or 1.0
        return plain | {name: "deadline"} | {f"deadline.{key}": value for key, value in values.items()}

    def _borders(self, network: str) -> tuple[str, ...]:
        return ("interpolated", "guided") if network in self.guided else ("interpolated",)


def has_parts(variant: Variant, needs: str) -> bool:
    """Whether a variant has the parts that a policy needs; see :class:`~edge_vseg.scheduling.policies.Policy`."""
    return {
        "slices": bool(variant.slices),
        "context": variant.context is not None,
        "tiles": variant.tile is not None,
    }.get(needs, True)


def common_variants(networks: Mapping[str, Bundle], left_out: dict[str, str]) -> tuple[str, ...]:
    """Ids of the variants that all networks have and that are fit to use; says in ``left_out`` what is not.

    Raises:
        OptionError: If there is none.
    """
    manifests = {name: bundle.manifest for name, bundle in networks.items()}
    ids = {variant.id: variant for manifest in manifests.values() for variant in manifest.variants}
    chosen = []
    for name in ids:
        lacking = [network for network, each in manifests.items() if name not in [v.id for v in each.variants]]
        found = [v for each in manifests.values() for v in each.variants if v.id == name]
        if lacking:
            left_out[name] = f"{lacking[0]} does not have it"
        elif any(variant.status == "drop" for variant in found):
            left_out[name] = "its labels are worse than the network's (status drop)"
        else:
            chosen.append(name)
    for manifest in manifests.values():
        left_out.update({failure.id: failure.message for failure in manifest.failed})
    # The fastest first, as the export found: that is what an untuned user gets.
    chosen.sort(key=lambda name: (0, ms) if (ms := _export_ms(ids[name])) is not None else (1, 0.0))
    if not chosen:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise OptionError(f"there is no variant to tune: {reasons}; export the bundle again")
    return tuple(chosen)


def _export_ms(variant: Variant) -> float | None:
    return None if variant.parity is None else variant.parity.latency_ms


def openable(network: Bundle, variants: tuple[str, ...], left_out: dict[str, str]) -> tuple[str, ...]:
    """Those variants that open on this machine; says in ``left_out`` why others do not.

    Raises:
        OptionError: If none does.
    """
    chosen = []
    for variant in variants:
        try:
            RuntimeOptions(variant=variant, threads=1).open_segmenter(network.root, EveryFrame()).close()
            chosen.append(variant)
        except BackendError as exc:
            left_out[variant] = str(exc)
    if not chosen:
        reasons = "; ".join(f"{name}: {left_out[name]}" for name in variants)
        raise OptionError(f"no variant opens on this machine: {reasons}")
    return tuple(chosen)


def _choice(trial: Chooser, name: str, choices: tuple[str, ...]) -> str:
    return str(trial.suggest_categorical(name, choices))


def _motion(trial: Chooser, policy: str) -> str:
    return _choice(trial, f"{policy}.motion", MOTIONS)


def _deadline(trial: Chooser, wish: Wish) -> dict[str, Value]:
    share = wish.cpu_share or 1.0
    if wish.deadline_ms is None:
        period_ms = 1e3 / wish.rate
        milliseconds = trial.suggest_float("deadline.milliseconds", 0.05 * period_ms, 2 * period_ms, log=True)
    else:
        milliseconds = wish.deadline_ms * trial.suggest_float("deadline.aim", LEAST_AIM, 1.0)
    return {
        "milliseconds": milliseconds,
        "cpu_share": trial.suggest_float("deadline.cpu_share", LEAST_SHARE * share, share, log=True),
        "max_age_frames": trial.suggest_int("deadline.max_age_frames", *MAX_AGES),
        "min_drift": trial.suggest_float("deadline.min_drift", 0.0005, 0.05, log=True),
        "motion": _motion(trial, "deadline"),
    }


def _async(trial: Chooser, _: Wish) -> dict[str, Value]:
    return {"lag_frames": trial.suggest_int("async.lag_frames", 0, 6), "motion": _motion(trial, "async")}


def _periodic(policy: str) -> Callable[[Chooser, Wish], dict[str, Value]]:
    def parameters(trial: Chooser, _: Wish) -> dict[str, Value]:
        period = trial.suggest_int(f"{policy}.period_frames", *PERIODS, log=True)
        return {"period_frames": period, "motion": _motion(trial, policy)}

    return parameters


def _adaptive(trial: Chooser, _: Wish) -> dict[str, Value]:
    return {
        "max_drift": trial.suggest_float("adaptive.max_drift", *DRIFTS, log=True),
        "max_age_frames": trial.suggest_int("adaptive.max_age_frames", *MAX_AGES),
        "motion": _motion(trial, "adaptive"),
    }


def _regional(trial: Chooser, _: Wish) -> dict[str, Value]:
    return {
        "max_drift": trial.suggest_float("regional.max_drift", *DRIFTS, log=True),
        "max_age_frames": trial.suggest_int("regional.max_age_frames", *MAX_AGES),
        "max_tiles": trial.suggest_int("regional.max_tiles", 0, 4),
        "motion": _motion(trial, "regional"),
    }


_PARAMETERS: dict[str, Callable[[Chooser, Wish], dict[str, Value]]] = {
    "every-frame": lambda trial, wish: {},
    "fixed": _periodic("fixed"),
    "adaptive": _adaptive,
    "feature": _periodic("feature"),
    "clockwork": _periodic("clockwork"),
    "sliced": _periodic("sliced"),
    "regional": _regional,
    "async": _async,
    "deadline": _deadline,
}
