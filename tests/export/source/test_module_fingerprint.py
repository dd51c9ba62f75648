"""A torch network's fingerprint: changes with whatever its graph depends on, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_vseg.export.source import module_fingerprint
from edge_vseg.export.source.torch_module import open_torch

FACTORY = """
from fingerprint_net.net import Net

def make():
    return Net(align_corners=False)
"""
NET = """
import enum
import functools
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from . import layers
from .resizing import resize

class Mode(enum.Enum):
    SLOW = 1
    FAST = 2

@dataclass(slots=True)
class Config:
    ratio: float = 0.5
    names: set = field(default_factory=lambda: {"a", "b", "c", "d"})

class Net(torch.nn.Module):
    def __init__(self, align_corners):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.up = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.align_corners = align_corners
        self.sizes = (1, [2, {"deep": 0.5}])
        self.mode = Mode.SLOW
        self.config = Config()
        self.names = SimpleNamespace(first="x")
        self.act = functools.partial(F.leaky_relu, negative_slope=0.1)
        self.gate = F.relu
        self.grid = torch.zeros(2)
        self.opaque = object()
        self.register_buffer("mean", torch.zeros(3), persistent=False)

    def forward(self, image):
        from fingerprint_net.late import finish
        return finish(resize(layers.first(self.conv(image)), self.align_corners))
"""
FILES = {
    "factory_of_net.py": FACTORY,
    "fingerprint_net/__init__.py": "",
    "fingerprint_net/net.py": NET,
    "fingerprint_net/layers.py": "from fingerprint_net.deeper import first",
    "fingerprint_net/deeper.py": "import torch\n\ndef first(x):\n    return torch.relu(x)",
    "fingerprint_net/resizing.py": "def resize(x, align_corners):\n    return x * 2",
    "fingerprint_net/late.py": "def finish(x):\n    return x",
    "fingerprint_net/unused.py": "WIDTH = 3",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network's files in a folder that nothing was imported from yet."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    forget()


def forget() -> None:
    module_fingerprint._installed_in.cache_clear()
    for name in [name for name in sys.modules if name.startswith("fingerprint_net")]:
        del sys.modules[name]


def fingerprint_of(folder: Path) -> str:
    """As another process finds it: all files are read anew."""
    forget()
    return open_torch(f"{folder / 'factory_of_net.py'}:make", None).fingerprint


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("unused.py")])
def test_every_file_of_the_users_that_is_imported_counts(folder: Path, name: str) -> None:
    before = fingerprint_of(folder)
    (folder / name).write_text(FILES[name] + "\nCHANGED = True\n")
    assert fingerprint_of(folder) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('="bilinear", align_corners=False', '="bilinear", align_corners=True', id="torch's own"),
        pytest.param("self.align_corners = align_corners", "self.align_corners = True", id="bool"),
        pytest.param('"deep": 0.5', '"deep": 0.25', id="nested"),
        pytest.param("self.mode = Mode.SLOW", "self.mode = Mode.FAST", id="enum"),
        pytest.param("Config()", "Config(ratio=0.7)", id="dataclass"),
        pytest.param('first="x"', 'first="y"', id="namespace"),
        pytest.param("negative_slope=0.1", "negative_slope=0.2", id="partial"),
        pytest.param("self.gate = F.relu", "self.gate = F.gelu", id="function"),
        pytest.param("self.grid = torch.zeros(2)", "self.grid = torch.ones(2)", id="tensor"),
        pytest.param('"mean", torch.zeros(3)', '"mean", torch.ones(3)', id="buffer that is not saved"),
    ],
)  # fmt: skip
def test_what_modules_hold_counts(folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """The code lies still: what differs came from elsewhere, such as a settings file."""
    assert NET.count(old) == 1
    found = []
    for text in (NET, NET.replace(old, new)):
        (folder / "fingerprint_net/net.py").write_text(text)
        with monkeypatch.context() as still:
            still.setattr(Path, "read_bytes", lambda path: b"")
            found.append(fingerprint_of(folder))
    assert found[0] != found[1]


def test_nothing_else_counts(folder: Path) -> None:
    before = fingerprint_of(folder)
    assert fingerprint_of(folder) == before
    (folder / "fingerprint_net/unused.py").write_text("WIDTH = 4")
    import fingerprint_net.unused  # noqa: F401

    assert open_torch(f"{folder / 'factory_of_net.py'}:make", None).fingerprint == before
    opened = open_torch(f"{folder / 'factory_of_net.py'}:make", None)
    opened.try_out((24, 32))  # the module that forward imports is loaded now
    assert "fingerprint_net.late" in sys.modules
    assert open_torch(f"{folder / 'factory_of_net.py'}:make", None).fingerprint == before


@pytest.mark.parametrize("record", ["fingerprint_net/net.py,,\n", "__editable__.fingerprint_net.pth,,\n"])
def test_what_an_installer_put_into_a_folder_is_known_by_its_version(folder: Path, record: str) -> None:
    """As ``pip install --target`` does; an editable package lists no file, and is the user's own."""
    info = folder / "fingerprint_net-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(record)
    (folder / "fingerprint_net/__init__.py").write_text("__version__ = '1.0'")
    before = fingerprint_of(folder)
    (folder / "fingerprint_net/deeper.py").write_text(FILES["fingerprint_net/deeper.py"] + "\nCHANGED = True\n")
    assert (fingerprint_of(folder) != before) == record.startswith("__editable__")
    before = fingerprint_of(folder)
    (folder / "fingerprint_net/__init__.py").write_text("__version__ = '1.1'")
    assert fingerprint_of(folder) != before


def test_another_process_finds_the_same(folder: Path) -> None:
    """Sets have another order there, and other modules are loaded."""
    code = (
        "import sys; from edge_vseg.export.source.torch_module import open_torch;"
        "print(open_torch(sys.argv[1] + '/factory_of_net.py:make', None).fingerprint)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint_of(folder)
