"""How a bundle is opened and its frames scheduled: options of every command that segments video."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli.options import (
    BordersOption,
    CompanionOption,
    CpuShareOption,
    DeadlineOption,
    FollowOption,
    MaxAgeOption,
    PolicyOption,
    PrecisionOption,
    ProviderOption,
    ProviderOptionsOption,
    RuntimeOption,
    SettingOption,
    ThreadsOption,
    TrustedOption,
    parse_borders,
    parse_names,
    parse_precision,
    parse_provider_options,
    read_policy,
    read_trust,
)
from edge_vseg.scheduling.policies import Policy

_Options = TypeVar("_Options", bound=RuntimeOptions)
_PARAMETER = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """The options as they were given; each field is one of them, and its type says what ``--help`` does."""

    runtime: RuntimeOption = "auto"
    precision: PrecisionOption = "auto"
    provider: ProviderOption = ""
    provider_option: ProviderOptionsOption = None
    borders: BordersOption = None
    companion: CompanionOption = None
    follow: FollowOption = ""
    threads: ThreadsOption = 0
    trusted: TrustedOption = None
    policy: PolicyOption = None
    setting: SettingOption = None
    deadline_ms: DeadlineOption = None
    cpu_share: CpuShareOption = None
    max_age: MaxAgeOption = None

    def read(self, bundle: Path, options: _Options) -> tuple[_Options, Policy | None]:
        """``options`` with these, and the policy; what is not given is the bundle's own.

        Raises:
            BundleError: If the bundle cannot be read, or its companion is missing.
            OptionError: If an option cannot be read, or options contradict each other.
        """
        given = replace(
            options,
            runtime=self.runtime,
            precision=parse_precision(self.precision),
            borders=parse_borders(self.borders),
            companion=self.companion,
            follow=parse_names(self.follow),
            provider=self.provider,
            provider_options=parse_provider_options(self.provider_option),
            threads=self.threads,
            trust=read_trust(self.trusted),
        )
        policy = read_policy(self.policy, self.setting, self.deadline_ms, self.cpu_share, self.max_age)
        return given.with_own_schedule(bundle, policy)


def takes_live_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter ``live`` by the options of :class:`LiveOptions`, as typer reads them.

    Args:
        command: A typer command with a parameter ``live: LiveOptions``; where that stands, the options stand in the
            help.
    """
    shared = get_type_hints(LiveOptions, include_extras=True)
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name == _PARAMETER:
            parameters += [_keyword(field.name, field.default, shared[field.name]) for field in fields(LiveOptions)]
        else:
            parameters.append(_keyword(name, parameter.default, hints[name]))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        live = LiveOptions(**{name: given.pop(name) for name in shared})
        command(**given, **{_PARAMETER: live})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    # Keywords may stand in any order, whether they have a default or not.
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
