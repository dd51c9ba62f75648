"""What a network says of itself, and attributes of the same names that mean something else to it."""

from __future__ import annotations

import pytest
from networks import SIZE_HW
from torch import nn
from torch_networks import Small, small

from edge_vseg.errors import ModelFileError
from edge_vseg.export import Normalization
from edge_vseg.export.source.source_network import SourceNetwork, open_source_network

NAMES = ["sky", "road", "car", "tree"]
GIVEN = Normalization(mean=(1, 2, 3), scale=(4, 5, 6))


def says_its_labels() -> nn.Module:
    network = small()
    network.labels = NAMES
    return network


def counts_labels() -> nn.Module:
    network = small()
    network.labels = [0, 7, 8]
    return network


def collects_labels() -> nn.Module:
    network = small()
    network.labels = []
    return network


def configures_layers() -> nn.Module:
    network = small()
    network.normalization = {"type": "bn"}
    return network


class OfAClass(Small):
    labels = (0, 7, 8)


def factory_says_it_better() -> nn.Module:
    return counts_labels()


factory_says_it_better.labels = NAMES


def factory_miscounts() -> nn.Module:
    return small()


factory_miscounts.labels = [0, 7, 8]


def factory_mistypes() -> nn.Module:
    return small()


factory_mistypes.normalization = {"mean": 127.5, "std": 60}


def opened(factory: type[nn.Module] | object, **options: object) -> SourceNetwork:
    return open_source_network(f"{__file__}:{factory.__name__}", weights=None, size_hw=SIZE_HW, **options)


def names(network: SourceNetwork) -> list[str]:
    return [label.name for label in network.labels or ()]


def test_labels_of_a_module():
    network = opened(says_its_labels)
    assert (names(network), network.notes) == (NAMES, ())


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (counts_labels, "attribute labels that is not one, entry 0: expected a name"),
        (collects_labels, "attribute labels that is not one: expected a list of 2 to 255"),
        (configures_layers, "attribute normalization that is not one: unknown type"),
        (OfAClass, "attribute labels that is not one, entry 0: expected a name"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("given", [{}, {"classes": 4, "normalization": GIVEN}], ids=["bare", "given"])
def test_what_a_module_keeps_for_itself_is_ignored(factory, reason, given, caplog):
    network = opened(factory, **given)
    assert (network.labels, network.normalization) == (None, None)
    (note,) = network.notes
    assert reason in note
    assert note.endswith("it is ignored")
    assert note in caplog.text


def test_the_factory_may_say_what_the_module_does_not():
    network = opened(factory_says_it_better)
    assert names(network) == NAMES
    assert len(network.notes) == 1


@pytest.mark.parametrize(
    ("factory", "given"),
    [(factory_miscounts, {"classes": 4}), (factory_mistypes, {"normalization": GIVEN})],
    ids=["labels", "normalization"],
)
def test_what_a_factory_says_must_be_understood_unless_it_is_given(factory, given):
    with pytest.raises(ModelFileError, match=f"{factory.__name__} has an attribute"):
        opened(factory)
    (note,) = opened(factory, **given).notes
    assert note.endswith("it is ignored")
