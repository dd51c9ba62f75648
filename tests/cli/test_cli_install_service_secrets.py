"""Tokens, passwords and variables of a service: where they lie, and where they are not shown."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from installed_units import TOKEN, settings

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

Cli = Callable[..., object]


def test_secrets_lie_where_nobody_else_reads(install: Cli, unit_folder: Path) -> None:
    source = "rtsp://admin:geheim@cam.local/live?key=schluessel"
    done = install(source, "--token", TOKEN, "--host", "0.0.0.0")
    assert done.code == 0, done.err
    unit, secrets = unit_folder / "edge-vseg.service", unit_folder / "edge-vseg.env"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    assert secrets.read_text().splitlines() == [
        'EDGE_VSEG_TOKEN="0123456789abcdef-\\$x"',
        f'EDGE_VSEG_SOURCE="{source}"',
    ]
    assert f"EnvironmentFile={secrets}" in settings(unit_folder)
    public = unit.read_text() + done.out + done.err
    assert not [secret for secret in ("geheim", "schluessel", "admin", "0123456789abcdef") if secret in public]
    assert "IPAddressDeny=any" not in settings(unit_folder)


def test_a_token_is_made_up_and_shown_once(install: Cli, unit_folder: Path) -> None:
    done = install("987", "--token", "", "--json")
    token = done.json()["token"]
    assert len(token) >= 16
    assert f'EDGE_VSEG_TOKEN="{token}"' in (unit_folder / "edge-vseg.env").read_text()
    assert token not in (unit_folder / "edge-vseg.service").read_text()


def test_secrets_are_not_shown_by_print(install: Cli, unit_folder: Path) -> None:
    done = install("rtsp://admin:geheim@cam/x", "--print")
    assert done.out.startswith("# Written by edge-vseg")
    assert "geheim" not in done.out + done.err
    assert list(unit_folder.iterdir()) == []


def test_a_path_that_others_may_not_write(
    cli: Cli, reference_bundle: Path, unit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unit_folder / "systemd").write_text("a file in the way")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(unit_folder))
    done = cli("install-service", reference_bundle, "987", "--user-unit")
    assert done.code == 1
    assert "cannot write" in done.err


def test_a_delegate_below_home_can_be_read(install: Cli, unit_folder: Path) -> None:
    assert install("987", "--", "--provider", "/home/pi/libedgetpu.so.1").code == 0
    assert {"ProtectHome=read-only", "RequiresMountsFor=/home/pi/libedgetpu.so.1"} <= settings(unit_folder)


def test_variables_of_the_service(install: Cli, unit_folder: Path) -> None:
    done = install("987", "--env", "ROS_DOMAIN_ID=7", "--env", "EDGE_VSEG_PROBE=first:900", "--env", "NOTE=50 % of it")
    assert done.code == 0, done.err
    wanted = {"ROS_DOMAIN_ID=7", "EDGE_VSEG_PROBE=first:900", '"NOTE=50 %% of it"'}
    assert {f"Environment={each}" for each in wanted} <= settings(unit_folder)


def test_variables_of_the_shell_are_not_lost_without_a_word(
    install: Cli, unit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_VSEG_TRUSTED_KEYS", "/home/pi/keys")
    monkeypatch.setenv("EDGE_VSEG_PROBE", "first:900")
    said = " ".join(install("987", "--print").err.split())
    wanted = ("EDGE_VSEG_TRUSTED_KEYS=/home/pi/keys", "EDGE_VSEG_PROBE=first:900")
    assert all(f"is not in the service; give --env {each}" in said for each in wanted)
    given = install("987", "--env", wanted[0], "--env", wanted[1])
    assert "is not in the service" not in given.err
    assert "RequiresMountsFor=/home/pi/keys" in settings(unit_folder)
    assert "TRUSTED_KEYS" not in install("987", "--print", "--", "--trusted", "/home/pi/keys").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--env", "ROS_DOMAIN_ID"), "expected NAME=VALUE"),
        (("--env", "A=1", "--env", "A=2"), "gives A twice, as '1' and '2'"),
        (("--env", "A B=1"), "a variable's name has letters, digits and '_', got 'A B'"),
        (("--env", "EDGE_VSEG_TOKEN=geheim"), "everybody can read a unit file; leave out --env EDGE_VSEG_TOKEN"),
    ],
)
def test_variables_that_are_refused(install: Cli, unit_folder: Path, words: tuple[str, ...], message: str) -> None:
    done = install("987", *words)
    assert done.code == 1
    assert message in " ".join(done.err.split())
    assert list(unit_folder.iterdir()) == []
