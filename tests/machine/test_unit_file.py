"""Units and environment files, read back by systemd itself where it is there, and by a reading of its manual."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_parsing import SystemdParser, can_read_units, exposure, verify

from edge_vseg.errors import OptionError
from edge_vseg.machine.service_unit import MARK, ServicePlan, service_unit
from edge_vseg.machine.unit_file import command_line, environment_file, quote_word, unit_text

needs_parser = pytest.mark.skipif(not SystemdParser.LIBRARY.exists(), reason="systemd 252's library is not here")
needs_systemd = pytest.mark.skipif(not can_read_units(), reason="systemd is not installed")

AWKWARD = [
    "plain",
    "two words",
    "",
    "100%",
    "%n %%",
    "$HOME ${HOME} $$",
    'say "yes"',
    "it's",
    "back\\slash",
    "\\x41",
    "end\\",
    ";",
    "tab\tnew\nline",
    "\x01\x7f",
    "#no comment",
    "Straße",
    "rtsp://u:p%40$w@cam/x?y=1&z=2",
]
PLAN = ServicePlan(
    name="edge-vseg",
    command=("/bin/true", "serve", "a b"),
    reads=(Path("/opt/street 100%.evseg"),),
    description="edge_vseg: cam",
    account="root",
    groups=("root",),
)


@pytest.fixture(scope="module")
def parser() -> SystemdParser:
    return SystemdParser()


@needs_parser
@pytest.mark.parametrize("word", AWKWARD)
def test_systemd_reads_a_word_back(parser: SystemdParser, word: str) -> None:
    line = command_line(("/bin/x", word, "last")).removeprefix(":")
    assert parser.words(line) == [b"/bin/x", word.encode(), b"last"]


@needs_parser
@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), max_size=4))
def test_systemd_reads_any_words_back(words: list[str]) -> None:
    line = command_line(("/bin/x", *words)).removeprefix(":")
    assert SystemdParser().words(line) == [b"/bin/x", *(word.encode() for word in words)]


@needs_parser
@pytest.mark.parametrize("value", [word for word in AWKWARD if not re.search(r"[\n\r]", word)])
def test_systemd_reads_a_variable_back(parser: SystemdParser, value: str, tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text(environment_file({"A": value, "B": "2"}))
    assert parser.environment(path) == {"A": value, "B": "2"}


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/dev/video0", "/dev/video0"),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ('"', r'"\""'),
        ("\\", r'"\\"'),
        ("\x1b", r'"\x1b"'),
        ("", '""'),
    ],
)
def test_quoting_is_that_of_the_manual(word: str, quoted: str) -> None:
    assert quote_word(word) == quoted


def test_dollars_are_left_alone_by_the_colon() -> None:
    assert command_line(("/bin/$x", "$HOME")) == ':"/bin/$x" "$HOME"'


@pytest.mark.parametrize("words", [("python",), ("/bin/x", "a\0b")], ids=["relative", "NUL"])
def test_impossible_commands(words: tuple[str, ...]) -> None:
    with pytest.raises(OptionError):
        command_line(words)


@pytest.mark.parametrize("value", ["a\nb", "a\0", "a\r"])
def test_a_variable_has_one_line(value: str) -> None:
    with pytest.raises(OptionError, match="A must be one line"):
        environment_file({"A": value})


@pytest.mark.parametrize("value", ["a\nExecStart=/bin/sh", "a\\"])
def test_a_setting_cannot_smuggle_in_another(value: str) -> None:
    with pytest.raises(OptionError, match="Description must be one line"):
        unit_text("x", {"Unit": [("Description", value)]})


@needs_systemd
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"devices": "all"},
        {"devices": "none", "network": "loopback", "cpus": "0,2-3", "nice": -5, "memory_max": "1G"},
        {"owner": "user", "account": "", "groups": ()},
        {"secrets": Path("/etc/edge-vseg/a b%.env"), "description": "100% of $it"},
    ],
    ids=["camera", "accelerator", "recording", "person", "secrets"],
)
def test_systemd_has_nothing_to_complain_of(changes: dict[str, object], tmp_path: Path) -> None:
    unit = tmp_path / "edge-vseg.service"
    unit.write_text(service_unit(replace(PLAN, **changes)))
    assert verify(unit) == ""


@needs_systemd
def test_the_check_above_can_fail(tmp_path: Path) -> None:
    unit = tmp_path / "edge-vseg.service"
    unit.write_text(service_unit(PLAN).replace("ProtectSystem=strict", "ProtectSystem=strictly"))
    assert "strictly" in verify(unit)


@needs_systemd
def test_little_is_exposed(tmp_path: Path) -> None:
    unit = tmp_path / "edge-vseg.service"
    unit.write_text(service_unit(replace(PLAN, account="daemon", groups=("video",), network="loopback")))
    assert exposure(unit) < 2.5
    unit.write_text(service_unit(replace(PLAN, account="daemon", devices="all")))
    assert exposure(unit) < 3.0


def lines(**changes: object) -> list[str]:
    return service_unit(replace(PLAN, **changes)).splitlines()


def test_it_never_gives_up_but_on_wrong_usage() -> None:
    assert {"StartLimitIntervalSec=0", "Restart=on-failure", "RestartPreventExitStatus=2"} <= set(lines())
    assert lines().index("StartLimitIntervalSec=0") < lines().index("[Service]"), "systemd reads it in [Unit] only"


def test_starting_may_take_as_long_as_a_camera_may_be_away() -> None:
    assert "TimeoutStartSec=360" in lines()
    assert {"TimeoutStartSec=100", "WatchdogSec=30"} <= set(lines(patience_s=40.0, watchdog_s=30.0))


@pytest.mark.parametrize(
    ("reads", "home", "tmp"),
    [
        ("/opt/a.evseg", "yes", "yes"),
        ("/home/pi/a.evseg", "read-only", "yes"),
        ("/run/user/1000/a.evseg", "read-only", "yes"),
        ("/var/tmp/a.evseg", "yes", "no"),
        ("/homes/a.evseg", "yes", "yes"),
    ],
)
def test_what_it_reads_is_not_hidden_from_it(reads: str, home: str, tmp: str) -> None:
    assert {f"ProtectHome={home}", f"PrivateTmp={tmp}"} <= set(lines(reads=(Path(reads),)))


def test_the_socket_of_a_jetsons_cameras_is_not_hidden() -> None:
    assert {"PrivateTmp=no", "ReadWritePaths=/tmp"} <= set(lines(devices="all"))
    assert "ReadWritePaths=/tmp" not in lines(devices="cameras")


@pytest.mark.parametrize("devices", ["cameras", "none", "all"])
def test_cameras_that_are_plugged_in_later_are_known_to_systemd(devices: str) -> None:
    """``DeviceAllow=char-video4linux`` is looked up in /proc/devices once, so the module has to be there before."""
    loader = "modprobe@videodev.service"
    expected = {"cameras": [f"Wants={loader}", f"After={loader}"]}.get(devices, [])
    lines = service_unit(replace(PLAN, devices=devices)).splitlines()
    unit = lines[: lines.index("[Service]")]
    assert [line for line in unit if loader in line] == expected
    person = service_unit(replace(PLAN, devices=devices, owner="user", account="", groups=()))
    assert loader not in person, "a person's manager has no such unit, and no such wall"


def test_a_unit_of_a_person_has_nothing_that_needs_privileges() -> None:
    text = service_unit(replace(PLAN, owner="user", account="", groups=()))
    assert text.startswith(f"# {MARK}")
    assert not re.search(r"^(User|Protect|Private|Device|Capability|IPAddress)", text, re.MULTILINE)
    assert "WantedBy=default.target" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": "a b"},
        {"name": ""},
        {"account": ""},
        {"owner": "user"},
        {"nice": 20},
        {"owner": "user", "account": "", "nice": -1},
        {"cpus": "two"},
        {"memory_max": "much"},
        {"memory_max": "101%"},
        {"watchdog_s": 0.0},
        {"patience_s": float("nan")},
    ],
    ids=str,
)
def test_impossible_plans(changes: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        replace(PLAN, **changes)
