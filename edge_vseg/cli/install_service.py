"""``edge-vseg install-service`` and ``edge-vseg uninstall-service``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import open_bundle
from edge_vseg.cli import console
from edge_vseg.cli.extras import require_serve
from edge_vseg.cli.live_options import LiveOptions
from edge_vseg.cli.options import BundleArgument, ForceOption, JsonOption, parse_pairs
from edge_vseg.cli.serve_sources import name_sources
from edge_vseg.cli.service_files import InstalledService, ServicePlace, find_account, groups_for
from edge_vseg.cli.service_source import ServiceSource, check_service_source, join_service_sources
from edge_vseg.errors import OptionError
from edge_vseg.machine.service_unit import Owner, ServicePlan, service_unit
from edge_vseg.machine.unit_file import environment_file
from edge_vseg.pipeline.service import PATIENCE_S
from edge_vseg.runtimes.probing.probe_rule import PROBE_VARIABLE
from edge_vseg.scheduling.policies import EveryFrame
from edge_vseg.scheduling.thing_follower import follower_of
from edge_vseg.trust.policy import TRUSTED_KEYS_VARIABLE

TOKEN, SOURCE, SOURCES = "EDGE_VSEG_TOKEN", "EDGE_VSEG_SOURCE", "EDGE_VSEG_SOURCES"

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="Where both files go, instead of where systemd looks.")
]
UserUnitOption = Annotated[
    bool, typer.Option("--user-unit", help="A service of this account (systemctl --user), not of the machine.")
]


def install_service(
    bundle: BundleArgument,
    source: Annotated[
        str | None, typer.Argument(help="Camera, stream or recording, as for serve; not with --source.")
    ] = None,
    serve_options: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Options of serve, behind --.")
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="[NAME=]ADDRESS", help="One of several cameras; may be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the service.")] = "edge-vseg",
    user: Annotated[
        str | None, typer.Option(help="Account to run as; by default the one that called sudo. Not for --user-unit.")
    ] = None,
    user_unit: UserUnitOption = False,
    host: Annotated[str, typer.Option(help="As for serve.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="As for serve.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(envvar=TOKEN, help="As for serve; '' makes one up. Kept in a file that others cannot read."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="A variable for the service, such as ROS_DOMAIN_ID=7."),
    ] = None,
    watchdog: Annotated[
        float,
        # A camera that stalls counts as away after ten seconds; until then only the watchdog's time protects it.
        typer.Option(help="Seconds without fresh labels until a restart.", min=20),
    ] = 60.0,
    patience: Annotated[
        float, typer.Option(help="Seconds that a camera may be away until a restart is tried.", min=1)
    ] = PATIENCE_S,
    nice: Annotated[int, typer.Option(help="-20 (goes first) to 19 (goes last).")] = 0,
    cpus: Annotated[str, typer.Option(help="Processors to use, such as 2-3; all by default.")] = "",
    memory_max: Annotated[
        str, typer.Option(help="More memory than this, such as 1G or 75%, and it is restarted.")
    ] = "75%",
    folder: FolderOption = None,
    only_print: Annotated[bool, typer.Option("--print", help="Show the unit; write nothing.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Also enable and start it.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a systemd unit that runs serve, starts it at boot, and restarts it when it hangs."""
    require_serve("the service")
    if user_unit and user is not None:
        raise OptionError("--user is for a service of the machine; a --user-unit runs as the account that owns it")
    place = ServicePlace.at(name, _owner(user_unit), folder)
    opened = open_bundle(bundle)
    behind = tuple(serve_options or ())
    # With --source, the first word behind -- is taken for SOURCE.
    first, rest = (None, (source, *behind)) if more and source is not None else (source, behind)
    cameras = {each.name: check_service_source(each.address) for each in name_sources(first, more or (), ())}
    found = next(iter(cameras.values())) if len(cameras) == 1 else join_service_sources(cameras)
    given = _Given(
        bundle=opened.root.absolute(), source=found, cameras=cameras, host=host, port=port, patience_s=patience
    )
    secrets, made_up = _secrets(given, token)
    parameters = _check_serve_options(given, rest, secrets.get(TOKEN, ""))
    devices = "all" if parameters.get("provider") else found.devices
    environment = _variables(env or ())
    local = found.is_local and _listens_on_loopback(parameters["host"])
    plan = ServicePlan(
        name=name,
        command=(_program(), "-m", "edge_vseg.cli", "serve", *given.words(rest)),
        reads=_reads(given, parameters, environment),
        description=f"edge_vseg: {found.shown} by {opened.root.name}",
        owner=place.owner,
        account="" if user_unit else find_account(user),
        groups=() if user_unit else groups_for(devices),
        devices=devices,
        network="loopback" if local else "all",
        environment=environment,
        secrets=place.secrets if secrets else None,
        watchdog_s=watchdog,
        patience_s=patience,
        nice=nice,
        cpus=cpus,
        memory_max=memory_max,
    )
    warnings = found.warnings if not parameters.get("repeat") or not found.paths else ()
    warnings = (*warnings, *_left_behind(plan.environment, parameters))
    service = InstalledService(
        place=place, text=service_unit(plan), secrets_text=environment_file(secrets), commands=place.commands()
    )
    if not only_print:
        place.check_systemctl(now=now)
        service.write(replace=force)
        if now:
            try:
                place.run_commands()
            except OptionError as exc:
                where = f", and the token in {place.secrets}" if made_up else ""
                raise OptionError(f"{exc}; the unit is written{where}") from exc
    _show(service, warnings, made_up=made_up, written=not only_print, started=now and not only_print, as_json=as_json)


def uninstall_service(
    name: Annotated[str, typer.Argument(help="Name of the service.")] = "edge-vseg",
    user_unit: UserUnitOption = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a service that install-service wrote, and remove its files."""
    place = ServicePlace.at(name, _owner(user_unit), folder)
    removed = place.remove()
    if as_json:
        console.print_json({"name": name, "removed": [str(path) for path in removed]})
        return
    for path in removed:
        console.out.print(f"removed {path}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What the service is to do."""

    bundle: Path
    source: ServiceSource
    cameras: Mapping[str, ServiceSource]
    host: str
    port: int
    patience_s: float

    def words(self, rest: tuple[str, ...]) -> tuple[str, ...]:
        """The words behind ``serve``; a secret source comes by its variable instead."""
        fixed = ("--wait", "--host", self.host, "--port", str(self.port), "--patience", f"{self.patience_s:g}")
        hidden = self.source.secret
        several = () if hidden or len(self.cameras) == 1 else self.several()
        one = () if hidden or len(self.cameras) > 1 else (self.source.address,)
        return (*fixed, *several, *rest, "--", str(self.bundle), *one)

    def several(self) -> tuple[str, ...]:
        """Options for several cameras."""
        return tuple(word for name, each in self.cameras.items() for word in ("--source", f"{name}={each.address}"))

    @property
    def variable(self) -> str:
        """The variable that a secret source comes by."""
        return SOURCE if len(self.cameras) == 1 else SOURCES


def _secrets(given: _Given, token: str | None) -> tuple[dict[str, str], str]:
    """The variables that nobody else may read, and the token if it was made up."""
    from edge_vseg.serve import make_token

    made_up = make_token() if token == "" else ""
    secrets = {}
    if token is not None:
        secrets[TOKEN] = made_up or token
    if given.source.secret:
        secrets[given.variable] = given.source.address
    return secrets, made_up


def _variables(given: Sequence[str]) -> dict[str, str]:
    """Read ``--env``.

    Raises:
        OptionError: If one is no NAME=VALUE, comes twice, is a secret, or names keys by a relative path.
    """
    found = parse_pairs("--env", given, example="ROS_DOMAIN_ID=7")
    for secret in found.keys() & {TOKEN, SOURCE, SOURCES}:
        raise OptionError(f"everybody can read a unit file; leave out --env {secret}: it has a file of its own")
    if not Path(found.get(TRUSTED_KEYS_VARIABLE, "/")).is_absolute():
        raise OptionError(f"--env {TRUSTED_KEYS_VARIABLE}: the service runs in another folder; give the whole path")
    return found


def _left_behind(given: Mapping[str, str], parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Warnings of variables that are set here, change what runs, and are not in the service."""
    found = []
    if os.environ.get("PYTHONPATH"):
        found.append("PYTHONPATH is set here, and is not in the service; install the package instead")
    keys, probe = (os.environ.get(name) for name in (TRUSTED_KEYS_VARIABLE, PROBE_VARIABLE))
    if keys and TRUSTED_KEYS_VARIABLE not in given and parameters["trusted"] is None:
        advice = f"give --env {TRUSTED_KEYS_VARIABLE}={Path(keys).absolute()}"
        found.append(f"{TRUSTED_KEYS_VARIABLE} is set here, and is not in the service; {advice}")
    if probe and PROBE_VARIABLE not in given:
        advice = f"give --env {PROBE_VARIABLE}={probe}"
        found.append(f"{PROBE_VARIABLE} is set here, and is not in the service; {advice}")
    return tuple(found)


def _check_serve_options(given: _Given, rest: tuple[str, ...], token: str) -> dict[str, Any]:
    """Read the options as serve will, so that what is wrong is said now and not in a log.

    Raises:
        OptionError: If serve would refuse them, or one of them would be read by everybody.
    """
    from edge_vseg.cli.app import app
    from edge_vseg.serve import ServeOptions

    if any(word.partition("=")[0] == "--source" for word in rest):
        raise OptionError("give --source before --: then it is checked, and credentials in it are hidden")
    if any(word.partition("=")[0] == "--token" for word in rest):
        raise OptionError("everybody can read a unit file; give --token before --, and it goes into a file of its own")
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    hidden = given.source.secret
    words = [
        *(given.several() if hidden and len(given.cameras) > 1 else ()),
        *given.words(rest),
        *((given.source.address,) if hidden and len(given.cameras) == 1 else ()),
    ]
    parameters: dict[str, Any] = command.make_context("edge-vseg serve", words).params
    if parameters["bundle"] != given.bundle:
        raise OptionError(f"behind -- stand options of serve only, got {str(parameters['bundle'])!r}")
    for name, path in _files(parameters).items():
        if not path.is_absolute():
            raise OptionError(f"--{name} {path}: the service runs in another folder; give the whole path")
    if parameters["repeat"] and (cameras := [each.shown for each in given.cameras.values() if not each.paths]):
        raise OptionError(f"--repeat begins a recording again, and {cameras[0]} is none; leave it out")
    name_sources(None, [f"{name}=x" for name in given.cameras], parameters["weight"] or ())
    ServeOptions(
        host=parameters["host"],
        port=parameters["port"],
        token=token,
        names=tuple(parameters["name"] or ()),
        picture_fps=parameters["picture_fps"],
        max_viewers=parameters["max_viewers"],
    )
    live = LiveOptions(**{each.name: parameters[each.name] for each in fields(LiveOptions)})
    options, policy = live.read(given.bundle, RuntimeOptions())
    manifest = open_bundle(given.bundle).manifest
    follower_of(options.follow, manifest.labels, policy or EveryFrame(), manifest.frame.size_hw)
    return parameters


def _files(parameters: Mapping[str, Any]) -> dict[str, Path]:
    """What the options of serve name beside the bundle and the source, by option; a delegate may be a library."""
    found = {name: Path(parameters[name]) for name in ("companion", "trusted") if parameters[name] is not None}
    if "/" in parameters["provider"]:
        found["provider"] = Path(parameters["provider"])
    return found


def _owner(user_unit: bool) -> Owner:
    return "user" if user_unit else "system"


def _listens_on_loopback(host: str) -> bool:
    from edge_vseg.serve.options import is_loopback

    return is_loopback(host)


def _program() -> str:
    # Not resolved: the link in a virtual environment is what makes it one.
    return str(Path(sys.executable).absolute())


def _reads(given: _Given, parameters: dict[str, Any], environment: Mapping[str, str]) -> tuple[Path, ...]:
    keys = environment.get(TRUSTED_KEYS_VARIABLE)
    paths = (
        given.bundle,
        *given.source.paths,
        *_files(parameters).values(),
        *((Path(keys),) if keys else ()),
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(__file__).parents[1],
    )
    found = dict.fromkeys(paths)
    return tuple(path for path in found if not any(path.is_relative_to(each) for each in found if each != path))


def _show(
    service: InstalledService,
    warnings: tuple[str, ...],
    *,
    made_up: str,
    written: bool,
    started: bool,
    as_json: bool,
) -> None:
    place = service.place
    secrets = str(place.secrets) if service.secrets_text else None
    if as_json:
        tree = {
            "name": place.name,
            "unit": str(place.unit),
            "secrets": secrets,
            "text": service.text,
            "written": written,
            "started": started,
            "token": made_up or None,
            "commands": [" ".join(command) for command in service.commands],
            "warnings": list(warnings),
        }
        console.print_json(tree)
        return
    if not written:
        sys.stdout.write(service.text)
    for warning in warnings:
        console.err.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    lines = [f"wrote {place.unit}", *([f"wrote {secrets} (mode 600)"] if secrets else [])] if written else []
    if written and made_up:
        lines.append(f"the token, shown this once: {made_up}")
    if written and not started:
        lines += ["start it with", *(f"  {' '.join(command)}" for command in service.commands)]
    if started:
        lines.append(f"{place.name} is enabled and started; its log: {place.log_command()}")
    for line in lines:
        console.out.print(line, highlight=False, markup=False, soft_wrap=True)
