"""The tool that counts the house finds what it is there to find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
TOOL = PROJECT / "tools" / "house.py"


def house(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def cottage(tmp_path: Path) -> Path:
    """A package of three rooms, one of them behind a link as in this project."""
    for name, text in {
        "edge_vseg/__init__.py": "",
        "edge_vseg/errors.py": "class Error(Exception): ...\n",
        "edge_vseg/bundle/__init__.py": "from edge_vseg.errors import Error\n",
        "edge_vseg/scheduling/__init__.py": "",
        "edge_vseg/scheduling/assembly.py": "from edge_vseg import bundle\n",
        "edge_vseg/scheduling/policies.py": "",
        "export/__init__.py": "",
        "export/steps.py": "def step(a, b, c, d, e, f, g, h): ...\n",
        "README.md": "three short words",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "edge_vseg" / "export").symlink_to("../export")
    return tmp_path


def test_this_project_passes() -> None:
    done = house("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_house_without_circles(cottage: Path) -> None:
    done = house("--check", "--root", cottage)
    assert (done.returncode, done.stdout) == (0, "4 rooms, no circle, no public name used twice\n")


def test_a_circle_through_a_link_and_inside_a_function(cottage: Path) -> None:
    (cottage / "export/steps.py").write_text("from edge_vseg.bundle import Error\n")
    (cottage / "edge_vseg/bundle/__init__.py").write_text("def late():\n    from edge_vseg.export import steps\n")
    done = house("--check", "--root", cottage)
    assert (done.returncode, done.stdout) == (1, "circle: bundle <-> export\n")


def test_a_name_for_two_things(cottage: Path) -> None:
    (cottage / "export/steps.py").write_text("class Error: ...\n")
    done = house("--check", "--root", cottage)
    assert done.returncode == 1
    assert done.stdout == "name used twice: Error: edge_vseg.errors, edge_vseg.export.steps\n"


def test_the_figures(cottage: Path) -> None:
    (cottage / "edge_vseg/__init__.py").write_text("Segmenter = None\n")
    found = json.loads(house("--json", "--root", cottage).stdout)
    assert (found["rooms"], found["arrows"], found["floors"], found["circles"]) == (4, 2, 3, 0)
    assert found["functions with more than 7 parameters"] == 1
    assert found["words of README.md"] == 3
    assert found["modules that a device imports"] == 6
    assert found["lines that a device imports"] == 4
