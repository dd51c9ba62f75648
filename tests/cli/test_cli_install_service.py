"""``install-service`` and ``uninstall-service``, into a folder; how systemd reads units is tested elsewhere."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from installed_units import ACCOUNT, TOKEN, settings

from edge_vseg.cli import service_files
from edge_vseg.errors import OptionError

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

Cli = Callable[..., object]


def command(unit_folder: Path, name: str = "edge-vseg") -> list[str]:
    """The words of the unit's command; the names in these tests need no quoting of systemd's own."""
    lines = (unit_folder / f"{name}.service").read_text().splitlines()
    line = next(line for line in lines if line.startswith("ExecStart=:"))
    return shlex.split(line.removeprefix("ExecStart=:"))


def test_a_camera_that_is_not_plugged_in_is_a_warning(install: Cli, unit_folder: Path, reference_bundle: Path) -> None:
    done = install("987", "--", "--deadline-ms", "15")
    assert done.code == 0, done.err
    assert "/dev/video987 is not plugged in" in done.err
    words = command(unit_folder)
    assert Path(words[0]).is_absolute()
    assert words[1:4] == ["-m", "edge_vseg.cli", "serve"]
    assert words[words.index("--deadline-ms") + 1] == "15"
    assert words[-3:] == ["--", str(reference_bundle), "/dev/video987"]
    assert "--wait" in words
    assert {f"User={ACCOUNT}", "DeviceAllow=char-video4linux rw", "IPAddressDeny=any"} <= settings(unit_folder)
    assert [path.name for path in unit_folder.iterdir()] == ["edge-vseg.service"]
    assert f"systemctl enable {unit_folder / 'edge-vseg.service'}" in done.out
    assert "systemctl restart --no-block edge-vseg.service" in done.out, "nobody waits for the camera"


def test_what_is_written_is_what_serve_takes(
    install: Cli, cli: Cli, unit_folder: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the unit runs; a port that is taken ends it at once."""
    import socket

    monkeypatch.setenv("EDGE_VSEG_PROBE", "never")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert install(clip, "--port", port, "--", "--runtime", "reference").code == 0
        done = cli(*command(unit_folder)[3:])
    assert done.code == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in done.err


@pytest.fixture
def install_several(cli: Cli, reference_bundle: Path, unit_folder: Path) -> Cli:
    def run(*words: object) -> object:
        return cli("install-service", reference_bundle, "--folder", unit_folder, "--user", ACCOUNT, *words)

    return run


def test_several_cameras(install_several: Cli, unit_folder: Path) -> None:
    done = install_several("--source", "front=987", "--source", "csi://0", "--", "--weight", "front=2")
    assert done.code == 0, done.err
    words = command(unit_folder)
    assert [words[n + 1] for n, word in enumerate(words) if word == "--source"] == [
        "front=/dev/video987",
        "camera2=csi://0",
    ]
    assert not [line for line in settings(unit_folder) if line.startswith("DevicePolicy")], "a CSI camera needs more"


def test_secrets_of_several_cameras(install_several: Cli, unit_folder: Path) -> None:
    rear = "rear=rtsp://admin:geheim@cam/x"
    assert install_several("--source", "front=987", "--source", rear, "--", "--weight", "rear=2").code == 0
    assert (unit_folder / "edge-vseg.env").read_text() == f'EDGE_VSEG_SOURCES="front=/dev/video987 {rear}"\n'
    assert "geheim" not in (unit_folder / "edge-vseg.service").read_text()
    assert "--source" not in command(unit_folder)


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
def test_several_cameras_that_are_refused(
    install_several: Cli, unit_folder: Path, words: list[str], message: str
) -> None:
    done = install_several(*words)
    assert done.code in (1, 2)
    assert message in done.err
    assert list(unit_folder.iterdir()) == []


def test_json_tells_all(install: Cli, unit_folder: Path) -> None:
    tree = install("987", "--print", "--json").json()
    assert tree["unit"] == str(unit_folder / "edge-vseg.service")
    assert not tree["written"]
    assert "ExecStart=" in tree["text"]
    assert len(tree["warnings"]) == 1
    assert list(unit_folder.iterdir()) == []


def test_nothing_is_replaced_unless_told(install: Cli, unit_folder: Path) -> None:
    assert install("987", "--token", TOKEN).code == 0
    before = {path.name: path.read_text() for path in unit_folder.iterdir()}
    refused = install("988")
    assert refused.code == 1
    assert "--force" in refused.err
    assert {path.name: path.read_text() for path in unit_folder.iterdir()} == before
    assert install("988", "--force").code == 0
    assert command(unit_folder)[-1] == "/dev/video988"
    assert not (unit_folder / "edge-vseg.env").exists(), "the secrets of the service before"
    assert install("987", "--name", "rear").code == 0
    assert command(unit_folder, "rear")[-1] == "/dev/video987"


def test_a_unit_of_somebody_else_is_left_alone(install: Cli, cli: Cli, unit_folder: Path) -> None:
    theirs = unit_folder / "edge-vseg.service"
    theirs.write_text("[Service]\nExecStart=/bin/true\n")
    assert "not written by install-service" in install("987", "--force").err
    assert "by hand" in cli("uninstall-service", "--folder", unit_folder).err
    assert theirs.read_text().startswith("[Service]")


def test_nothing_is_written_by_halves(install: Cli, unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert list(unit_folder.iterdir()) == []


def test_removing(install: Cli, cli: Cli, unit_folder: Path) -> None:
    install("987", "--token", TOKEN)
    done = cli("uninstall-service", "edge-vseg", "--folder", unit_folder, "--json")
    assert sorted(done.json()["removed"]) == [str(unit_folder / f"edge-vseg.{kind}") for kind in ("env", "service")]
    assert list(unit_folder.iterdir()) == []
    assert "there is no service" in cli("uninstall-service", "--folder", unit_folder).err


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
    install: Cli, unit_folder: Path, words: list[str], message: str
) -> None:
    done = install("987", *words)
    assert done.code in (1, 2)
    assert message in done.err
    assert list(unit_folder.iterdir()) == []


@pytest.mark.parametrize("source", ["-", "stdin:64x48:bgr24", "nowhere.mp4", "gopher://x"])
def test_sources_that_cannot_be_served(install: Cli, unit_folder: Path, source: str) -> None:
    assert install(source).code == 1
    assert list(unit_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("V4L2:///dev/video987?video_size=640x480", "v4l2:///dev/video987?video_size=640x480"),
        (" v4l2:///dev/video987?framerate=30", "v4l2:///dev/video987?framerate=30"),
        ("CSI://0", "csi://0"),
    ],
)
def test_how_a_scheme_is_written_changes_nothing(install: Cli, unit_folder: Path, given: str, kept: str) -> None:
    done = install(given)
    assert done.code == 0, done.err
    assert command(unit_folder)[-1] == kept
    assert any(line.startswith("DeviceAllow=") for line in settings(unit_folder)) == (not kept.startswith("csi"))


def test_a_bundle_that_is_not_there(cli: Cli, unit_folder: Path) -> None:
    assert "BundleNotFoundError" in cli("install-service", "nowhere.evseg", "0", "--folder", unit_folder).err


def test_root_is_not_taken_by_default(
    cli: Cli, reference_bundle: Path, unit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "root")
    done = cli("install-service", reference_bundle, "987", "--folder", unit_folder)
    assert "--user pi" in done.err
    monkeypatch.setenv("SUDO_USER", "nobody")
    assert cli("install-service", reference_bundle, "987", "--folder", unit_folder).code == 0
    assert "User=nobody" in settings(unit_folder)


def test_an_account_that_is_not_there(install: Cli) -> None:
    assert "no account 'nobody-at-all'" in install("987", user="nobody-at-all").err


def test_a_service_of_a_person(
    cli: Cli, reference_bundle: Path, unit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(unit_folder))
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--token", TOKEN)
    assert done.code == 0, done.err
    assert (unit_folder / "systemd/user/edge-vseg.service").is_file()
    assert stat.S_IMODE((unit_folder / "edge-vseg/edge-vseg.env").stat().st_mode) == 0o600
    assert "systemctl --user enable edge-vseg.service" in done.out


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, unit_folder: Path) -> list[list[str]]:
    """What systemd is told, and is not; units of this account lie in the folder of the test."""
    told: list[list[str]] = []
    monkeypatch.setenv("XDG_CONFIG_HOME", str(unit_folder))
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
    cli: Cli, reference_bundle: Path, systemctl: list[list[str]], monkeypatch: pytest.MonkeyPatch, unit_folder: Path
) -> None:
    monkeypatch.setattr(service_files, "_systemd_runs", lambda: False)
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--now")
    assert "systemd does not run here" in done.err
    assert list(unit_folder.iterdir()) == []
    assert cli("install-service", reference_bundle, "987", "--user-unit").code == 0
    assert systemctl == []


def test_an_accelerator_needs_its_devices(install: Cli, unit_folder: Path) -> None:
    install("987", "--", "--provider", "GPU")
    assert not [line for line in settings(unit_folder) if line.startswith("Device")]


def test_a_start_that_fails_says_where_the_token_is(
    cli: Cli, reference_bundle: Path, systemctl: list[list[str]], unit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str]) -> None:
        raise OptionError("`systemctl` failed: no")

    monkeypatch.setattr(service_files, "_run", refuse)
    done = cli("install-service", reference_bundle, "987", "--user-unit", "--now", "--token", "")
    assert done.code == 1
    secrets = unit_folder / "edge-vseg" / "edge-vseg.env"
    assert f"the unit is written, and the token in {secrets}" in " ".join(done.err.split())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert secrets.parent.stat().st_mode & 0o055 == 0o055, "trusted keys lie in that folder of the machine, too"


def test_a_topic_keeps_its_address(install: Cli, unit_folder: Path, reference_bundle: Path) -> None:
    done = install("ros2:/camera/image_raw")
    assert done.code == 0, done.err
    assert "--repeat" not in done.err
    assert command(unit_folder)[-3:] == ["--", str(reference_bundle), "ros2:/camera/image_raw"]
    assert "IPAddressDeny=any" not in settings(unit_folder)
