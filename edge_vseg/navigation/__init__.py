"""From label maps to what a planner takes: free space, occupancy grids, and which classes are in view."""

from edge_vseg.navigation.class_area import AreaThresholds, ClassPresence, follow_areas
from edge_vseg.navigation.free_space import class_ids, free_distance, free_polygon
from edge_vseg.navigation.occupancy import GridSpec, GroundView, ground_homography

__all__ = [
    "AreaThresholds",
    "ClassPresence",
    "GridSpec",
    "GroundView",
    "class_ids",
    "follow_areas",
    "free_distance",
    "free_polygon",
    "ground_homography",
]
