"""Make a network smaller for a device: cut channels where that saves measured time, and teach what is left."""

from edge_vseg.export.shrinking.family import HEADINGS, Family, Member, MemberScore, score_row
from edge_vseg.export.shrinking.importance import Criterion
from edge_vseg.export.shrinking.shrink import shrink
from edge_vseg.export.shrinking.shrink_data import ShrinkData
from edge_vseg.export.shrinking.shrink_options import ShrinkOptions
from edge_vseg.export.shrinking.whole_network import open_whole, write_network_layers

__all__ = [
    "HEADINGS",
    "Criterion",
    "Family",
    "Member",
    "MemberScore",
    "ShrinkData",
    "ShrinkOptions",
    "open_whole",
    "score_row",
    "shrink",
    "write_network_layers",
]
