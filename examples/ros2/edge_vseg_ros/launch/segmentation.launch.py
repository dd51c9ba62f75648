"""Start the node with ``config/segmentation.yaml``; ``bundle:=`` and ``image:=`` replace what is there."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its two arguments."""
    parameters = Path(get_package_share_directory("edge_vseg_ros")) / "config" / "segmentation.yaml"
    return LaunchDescription(
        [
            DeclareLaunchArgument("bundle", description="Directory of the bundle."),
            DeclareLaunchArgument("image", default_value="/camera/image_raw", description="Topic of the camera."),
            Node(
                package="edge_vseg_ros",
                executable="segmentation",
                name="edge_vseg",
                output="screen",
                parameters=[
                    str(parameters),
                    {"bundle": LaunchConfiguration("bundle"), "image": LaunchConfiguration("image")},
                ],
            ),
        ]
    )
