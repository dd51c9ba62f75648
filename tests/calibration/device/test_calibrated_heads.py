"""What can be calibrated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_vseg.calibration import calibrate_device
from edge_vseg.errors import OptionError


def test_a_network_of_label_maps_is_refused_before_anything_takes_long(reference_bundle: Path) -> None:
    path = reference_bundle / "manifest.json"
    tree = json.loads(path.read_bytes())
    tree["head"]["kind"] = "labels"
    for variant in tree["variants"]:
        variant["output"] |= {"shape": [1, *variant["output"]["shape"][-2:]], "layout": "NHW", "dtype": "uint8"}
    path.write_text(json.dumps(tree))
    with pytest.raises(OptionError, match="gives label maps, and calibration compares scores"):
        calibrate_device(reference_bundle, iter(()), video="drive")
