"""``install-service`` and ``uninstall-service``, into a folder; how systemd reads units is tested elsewhere."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_vseg.cli import service_files
from edge_vseg.errors import OptionError

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

Cli = Callable[..., object]
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
TOKEN = "0123456789abcdef-$x"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGE_VSEG_TOKEN", raising=False)
    monkeypatch.delenv("EDGE_VSEG_SOURCE", raising=False)
    for name in ("PYTHONPATH", "EDGE_VSEG_PROBE", "EDGE_VSEG_TRUSTED_KEYS"):
        monkeypatch.delenv(name, raising=False)
    made = tmp_path / "units"
    made.mkdir()
    return made


@pytest.fixture
def install(cli: Cli, reference_bundle: Path, folder: Path) -> Cli:
    def run(source: object, *words: object, user: str = ACCOUNT) -> object:
        return cli("install-service", reference_bundle, source, "--folder", folder, "--user", user, *words)

    return run


def command(folder: Path, name: str = "edge-vseg") -> list[str]:
    """The words of the unit's command; the names in these tests need no quoting of systemd's own."""
    lines = (folder / f"{name}.service").read_text().splitlines()
    line = next(line for line in lines if line.startswith("ExecStart=:"))
    return shlex.split(line.removeprefix("ExecStart=:"))


def settings(folder: Path, name: str = "edge-vseg") -> set[str]:
    return set((folder / f"{name}.service").read_text().splitlines())


def test_a_camera_that_is_not_plugged_in_is_a_warning(install: Cli, folder: Path, reference_bundle: Path) -> None:
    done = install("987", "--", "--deadline-ms", "15")
    assert done.code == 0, done.err
    assert "/dev/video987 is not plugged in" in done.err
    words = command(folder)
    assert Path(words[0]).is_absolute()
    assert words[1:4] == ["-m", "edge_vseg.cli", "serve"]
    assert words[words.index("--deadline-ms") + 1] == "15"
    assert words[-3:] == ["--", str(reference_bundle), "/dev/video987"]
    assert "--wait" in words
    assert {f"User={ACCOUNT}", "DeviceAllow=char-video4linux rw", "IPAddressDeny=any"} <= settings(folder)
    assert [path.name for path in folder.iterdir()] == ["edge-vseg.service"]
    assert f"systemctl enable {folder / 'edge-vseg.service'}" in done.out
    assert "systemctl restart --no-block edge-vseg.service" in done.out, "nobody waits for the camera"


def test_what_is_written_is_what_serve_takes(
    install: Cli, cli: Cli, folder: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the unit runs; a port that is taken ends it at once."""
    import socket

    monkeypatch.setenv("EDGE_VSEG_PROBE", "never")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert install(clip, "--port", port, "--", "--runtime", "reference").code == 0
        done = cli(*command(folder)[3:])
    assert done.code == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in done.err


def test_secrets_lie_where_nobody_else_reads(install: Cli, folder: Path) -> None:
    source = "rtsp://admin:geheim@cam.local/live?key=schluessel"
    done = install(source, "--token", TOKEN, "--host", "0.0.0.0")
    assert done.code == 0, done.err
    unit, secrets = folder / "edge-vseg.service", folder / "edge-vseg.env"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    assert secrets.read_text().splitlines() == [
        'EDGE_VSEG_TOKEN="0123456789abcdef-\\$x"',
        f'EDGE_VSEG_SOURCE="{source}"',
    ]
    assert f"EnvironmentFile={secrets}" in settings(folder)
    public = unit.read_text() + done.out + done.err
    assert not [secret for secret in ("geheim", "schluessel", "admin", "0123456789abcdef") if secret in public]
    assert "IPAddressDeny=any" not in settings(folder)


@pytest.fixture
def install_several(cli: Cli, reference_bundle: Path, folder: Path) -> Cli:
    def run(*words: object) -> object:
        return cli("install-service", reference_bundle, "--folder", folder, "--user", ACCOUNT, *words)

    return run


def test_several_cameras(install_several: Cli, folder: Path) -> None:
    done = install_several("--source", "front=987", "--source", "csi://0", "--", "--weight", "front=2")
    assert done.code == 0, done.err
    words = command(folder)
    assert [words[n + 1] for n, word in enumerate(words) if word == "--source"] == [
        "front=/dev/video987",
        "camera2=csi://0",
    ]
    assert not [line for line in settings(folder) if line.startswith("DevicePolicy")], "a CSI camera needs more"


def test_secrets_of_several_cameras(install_several: Cli, folder: Path) -> None:
    rear = "rear=rtsp://admin:geheim@cam/x"
    assert install_several("--source", "front=987", "--source", rear, "--", "--weight", "rear=2").code == 0
    assert (folder / "edge-vseg.env").read_text() == f'EDGE_VSEG_SOURCES="front=/dev/video987 {rear}"\n'
    assert "geheim" not in (folder / "edge-vseg.service").read_text()
    assert "--source" not in command(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no source"),
        (["--source", "a=1", "--source", "a=2"], "two sources are called 'a'"),
        (["--source", "a=1", "--source", "b=2", "--", "--weight", "c=2"], "'c'"),
        (["--source", "a=1", "--", "--source", "b=2"], "before --"),
        (["--source", "a=1", "--source", "b=2", "--", "one more"], "one more"),
        (["--source", "a=rtsp://u:p@c/x", "--source", "b=gst:videotestsrc ! videoconvert"], "space"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_several_cameras_that_are_refused(install_several: Cli, folder: Path, words: list[str], message: str) -> None:
    done = install_several(*words)
    assert done.code in (1, 2)
    assert message in done.err
    assert list(folder.iterdir()) == []


def test_a_token_is_made_up_and_shown_once(install: Cli, folder: Path) -> None:
    done = install("987", "--token", "", "--json")
    token = done.json()["token"]
    assert len(token) >= 16
    assert f'EDGE_VSEG_TOKEN="{token}"' in (folder / "edge-vseg.env").read_text()
    assert token not in (folder / "edge-vseg.service").read_text()


def test_secrets_are_not_shown_by_print(install: Cli, folder: Path) -> None:
    done = install("rtsp://admin:geheim@cam/x", "--print")
    assert done.out.startswith("# Written by edge-vseg")
    assert "geheim" not in done.out + done.err
    assert list(folder.iterdir()) == []


def test_json_tells_all(install: Cli, folder: Path) -> None:
    tree = install("987", "--print", "--json").json()
    assert tree["unit"] == str(folder / "edge-vseg.service")
    assert not tree["written"]
    assert "ExecStart=" in tree["text"]
    assert len(tree["warnings"]) == 1
    assert list(folder.iterdir()) == []


def test_nothing_is_replaced_unless_told(install: Cli, folder: Path) -> None:
    assert install("987", "--token", TOKEN).code == 0
    before = {path.name: path.read_text() for path in folder.iterdir()}
    refused = install("988")
    assert refused.code == 1
    assert "--force" in refused.err
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert install("988", "--force").code == 0
    assert command(folder)[-1] == "/dev/video988"
    assert not (folder / "edge-vseg.env").exists(), "the secrets of the service before"
    assert install("987", "--name", "rear").code == 0
    assert command(folder, "rear")[-1] == "/dev/video987"


def test_a_unit_of_somebody_else_is_left_alone(install: Cli, cli: Cli, folder: Path) -> None:
    theirs = folder / "edge-vseg.service"
    theirs.write_text("[Service]\nExecStart=/bin/true\n")
    assert "not written by install-service" in install("987", "--force").err
    assert "by hand" in cli("uninstall-service", "--folder", folder).err
    assert theirs.read_text().startswith("[Service]")


def test_nothing_is_written_by_halves(install: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.suffix == ".service":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    done = install("987", "--token", TOKEN)
    assert done.code == 1
    assert "edge-vseg.service cannot be written: No space left" in done.err
    assert "sudo" not in done.err, "which makes no room"
    assert list(folder.iterdir()) == []


def test_removing(install: Cli, cli: Cli, folder: Path) -> None:
    install("987", "--token", TOKEN)
    done = cli("uninstall-service", "edge-vseg", "--folder", folder, "--json")
    assert sorted(done.json()["removed"]) == [str(folder / f"edge-vseg.{kind}") for kind in ("env", "service")]
    assert list(folder.iterdir()) == []
    assert "there is no service" in cli("uninstall-service", "--folder", folder).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "--no-such-option"], "--no-such-option"),
        (["--", "--policy", "nonsense"], "nonsense"),
        (["--", "--companion", "small.evseg"], "give the whole path"),
        (["--", "--provider", "./libedgetpu.so.1"], "give the whole path"),
        (["--", "--precision", "int9"], "expected auto, int8, float"),
        (["--", "--borders", "foo"], "expected interpolated or guided"),
        (["--", "--provider-option", "x"], "expected NAME=VALUE"),
        (["--", "--follow", "nosuchclass", "--deadline-ms", "15"], "there is no class 'nosuchclass'"),
        (["--", "--follow", "red"], "carries no label maps"),
        (["--", "--repeat"], "/dev/video987 is none"),
        (["--env", "EDGE_VSEG_TRUSTED_KEYS=keys"], "give the whole path"),
        (["--", "--deadline-ms", "-1"], "deadline-ms"),
        (["--", "--token", TOKEN], "everybody can read"),
        (["--", f"--token={TOKEN}"], "everybody can read"),
        (["--host", "0.0.0.0"], "token"),
        (["--token", "short"], "16"),
        (["--port", "70000"], "70000"),
        (["--name", "a/b"], "name"),
        (["--cpus", "all"], "cpus"),
        (["--now"], "--folder"),
        (["--user-unit"], "--user"),
        (["--", "one more"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_said_before_anything_is_written(
    install: Cli, folder: Path, words: list[str], message: str
) -> None:
    done = install("987", *words)
    assert done.code in (1, 2)
    assert message in done.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("source", ["-", "stdin:64x48:bgr24", "nowhere.mp4", "gopher://x"])
def test_sources_that_cannot_be_served(install: Cli, folder: Path, source: str) -> None:
    assert install(source).code == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("V4L2:///dev/video987?video_size=640x480", "v4l2:///dev/video987?video_size=640x480"),
        (" v4l2:///dev/video987?framerate=30", "v4l2:///dev/video987?framerate=30"),
        ("CSI://0", "csi://0"),
    ],
)
def test_how_a_scheme_is_written_changes_nothing(install: Cli, folder: Path, given: str, kept: str) -> None:
    done = install(given)
    assert done.code == 0, done.err
    assert command(folder)[-1] == kept
    assert any(line.startswith("DeviceAllow=") for line in settings(folder)) == (not kept.startswith("csi"))


def test_a_bundle_that_is_not_there(cli: Cli, folder: Path) -> None:
    assert "BundleNotFoundError" in cli("install-service", "nowhere.evseg", "0", "--folder", folder).err


def test_root_is_not_taken_by_default(
    cli: Cli, reference_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "root")
    done = cli("install-service", reference_bundle, "987", "--folder", folder)
    assert "--user pi" in done.err
    monkeypatch.setenv("SUDO_USER", "nobody")
    assert cli("install-service", reference_bundle, "987", "--folder", folder).code == 0
    assert "User=nobody" in settings(folder)


def test_an_account_that_is_not_there(install: Cli) -> None:
    assert "no account 'nobody-at-all'" in install("987", user="nobody-at-all").err


def test_a_service_of_a_person(cli: Cli, reference_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--token", TOKEN)
    assert done.code == 0, done.err
    assert (folder / "systemd/user/edge-vseg.service").is_file()
    assert stat.S_IMODE((folder / "edge-vseg/edge-vseg.env").stat().st_mode) == 0o600
    assert "systemctl --user enable edge-vseg.service" in done.out


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[list[str]]:
    """What systemd is told, and is not; units of this account lie in the folder of the test."""
    told: list[list[str]] = []
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setattr(service_files, "_systemd_runs", lambda: True)
    monkeypatch.setattr(service_files, "_run", told.append)
    return told


def test_now_starts_it_and_removing_stops_it(cli: Cli, reference_bundle: Path, systemctl: list[list[str]]) -> None:
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--now")
    assert "its log: journalctl --user -u edge-vseg" in done.out
    reload = ["systemctl", "--user", "daemon-reload"]
    enable, start = ["enable", "edge-vseg.service"], ["restart", "--no-block", "edge-vseg.service"]
    assert systemctl == [reload, ["systemctl", "--user", *enable], ["systemctl", "--user", *start]]
    systemctl.clear()
    assert cli("uninstall-service", "--user-unit").code == 0
    assert systemctl == [["systemctl", "--user", "disable", "--now", "edge-vseg.service"], reload]


def test_now_needs_a_systemd_that_runs(
    cli: Cli, reference_bundle: Path, systemctl: list[list[str]], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(service_files, "_systemd_runs", lambda: False)
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--now")
    assert "systemd does not run here" in done.err
    assert list(folder.iterdir()) == []
    assert cli("install-service", reference_bundle, "987", "--user-unit").code == 0
    assert systemctl == []


def test_a_path_that_others_may_not_write(
    cli: Cli, reference_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "systemd").write_text("a file in the way")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    done = cli("install-service", reference_bundle, "987", "--user-unit")
    assert done.code == 1
    assert "cannot write" in done.err


def test_an_accelerator_needs_its_devices(install: Cli, folder: Path) -> None:
    install("987", "--", "--provider", "GPU")
    assert not [line for line in settings(folder) if line.startswith("Device")]


def test_a_delegate_below_home_can_be_read(install: Cli, folder: Path) -> None:
    assert install("987", "--", "--provider", "/home/pi/libedgetpu.so.1").code == 0
    assert {"ProtectHome=read-only", "RequiresMountsFor=/home/pi/libedgetpu.so.1"} <= settings(folder)


def test_variables_of_the_service(install: Cli, folder: Path) -> None:
    done = install("987", "--env", "ROS_DOMAIN_ID=7", "--env", "EDGE_VSEG_PROBE=first:900", "--env", "NOTE=50 % of it")
    assert done.code == 0, done.err
    wanted = {"ROS_DOMAIN_ID=7", "EDGE_VSEG_PROBE=first:900", '"NOTE=50 %% of it"'}
    assert {f"Environment={each}" for each in wanted} <= settings(folder)


def test_variables_of_the_shell_are_not_lost_without_a_word(
    install: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_VSEG_TRUSTED_KEYS", "/home/pi/keys")
    monkeypatch.setenv("EDGE_VSEG_PROBE", "first:900")
    said = " ".join(install("987", "--print").err.split())
    wanted = ("EDGE_VSEG_TRUSTED_KEYS=/home/pi/keys", "EDGE_VSEG_PROBE=first:900")
    assert all(f"is not in the service; give --env {each}" in said for each in wanted)
    given = install("987", "--env", wanted[0], "--env", wanted[1])
    assert "is not in the service" not in given.err
    assert "RequiresMountsFor=/home/pi/keys" in settings(folder)
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
def test_variables_that_are_refused(install: Cli, folder: Path, words: tuple[str, ...], message: str) -> None:
    done = install("987", *words)
    assert done.code == 1
    assert message in " ".join(done.err.split())
    assert list(folder.iterdir()) == []


def test_a_start_that_fails_says_where_the_token_is(
    cli: Cli, reference_bundle: Path, systemctl: list[list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str]) -> None:
        raise OptionError("`systemctl` failed: no")

    monkeypatch.setattr(service_files, "_run", refuse)
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--now", "--token", "")
    assert done.code == 1
    secrets = folder / "edge-vseg" / "edge-vseg.env"
    assert f"the unit is written, and the token in {secrets}" in " ".join(done.err.split())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert secrets.parent.stat().st_mode & 0o055 == 0o055, "trusted keys lie in that folder of the machine, too"


def test_a_topic_keeps_its_address(install: Cli, folder: Path, reference_bundle: Path) -> None:
    done = install("ros2:/camera/image_raw")
    assert done.code == 0, done.err
    assert "--repeat" not in done.err
    assert command(folder)[-3:] == ["--", str(reference_bundle), "ros2:/camera/image_raw"]
    assert "IPAddressDeny=any" not in settings(folder)
