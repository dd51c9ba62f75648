"""More labels from few: carried to the frames around them, or said by a teacher and filtered."""

from edge_vseg.analysis.label_propagation.carried import CarriedLabels, merge_carried
from edge_vseg.analysis.label_propagation.propagation import PropagatedFrame, PropagationOptions, propagate_labels
from edge_vseg.analysis.label_propagation.pseudo_labels import PseudoLabelled, PseudoLabelOptions, pseudo_label

__all__ = [
    "CarriedLabels",
    "PropagatedFrame",
    "PropagationOptions",
    "PseudoLabelOptions",
    "PseudoLabelled",
    "merge_carried",
    "propagate_labels",
    "pseudo_label",
]
