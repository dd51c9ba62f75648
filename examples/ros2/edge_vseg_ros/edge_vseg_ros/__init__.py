"""Nothing of its own: the node is ``edge_vseg.ros2.node``."""
