"""A robot that updates its bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.update import UpdateOptions, UpdateReport, install_update


@dataclass
class Device:
    """A robot: its bundle's path, and how it updates."""

    bundle: Path
    options: UpdateOptions
    steps: list[str] = field(default_factory=list)

    def update(self, origin: object, **changes: object) -> UpdateReport:
        self.steps.clear()
        options = replace(self.options, **changes)  # type: ignore[arg-type]
        return install_update(self.bundle, str(origin), options, step=self.steps.append)

    @property
    def installed(self) -> str:
        """Hash of the bundle that is there, all files checked."""
        opened = open_bundle(self.bundle)
        check_files(opened)
        return opened.sha256

    @property
    def slots(self) -> set[str]:
        folder = self.bundle.with_name(f"{self.bundle.name}.slots")
        return {path.name.partition("-")[0] for path in folder.iterdir() if not path.name.startswith(".")}


def release(site: Path, version: int) -> Path:
    """A release of the site."""
    return site / f"colours-{version}.evseg"


def state(device: Device) -> dict[str, object]:
    """What the slots remember."""
    return json.loads((device.bundle.with_name(f"{device.bundle.name}.slots") / ".state.json").read_bytes())
