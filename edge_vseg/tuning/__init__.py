"""Tuning: the best variant, policy and parameters of networks for a device, found on a clip by Optuna."""

from edge_vseg.tuning.clip import Clip, copied_recording, labelled_clip, longest_clip, reference_clip
from edge_vseg.tuning.example_maps import example_maps
from edge_vseg.tuning.front import RECOMMENDED_NAMES, Recommendation, StudyTrial, front_of, recommend
from edge_vseg.tuning.networks import ExportRequest, export_inputs, export_networks, is_bundle, open_networks
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.study import alone_in
from edge_vseg.tuning.study_page import StudyPage
from edge_vseg.tuning.trial import TrialJob, run_trial
from edge_vseg.tuning.tuned_bundle import companion_place, write_tuned_bundle
from edge_vseg.tuning.tuner import Tuned, TuneOptions, make_job, tune
from edge_vseg.tuning.wish import Figures, Wish

__all__ = [
    "RECOMMENDED_NAMES",
    "Clip",
    "ExportRequest",
    "Figures",
    "Recommendation",
    "Setting",
    "StudyPage",
    "StudyTrial",
    "TrialJob",
    "TuneOptions",
    "Tuned",
    "Wish",
    "alone_in",
    "companion_place",
    "copied_recording",
    "example_maps",
    "export_inputs",
    "export_networks",
    "front_of",
    "is_bundle",
    "labelled_clip",
    "longest_clip",
    "make_job",
    "open_networks",
    "recommend",
    "reference_clip",
    "run_trial",
    "tune",
    "write_tuned_bundle",
]
