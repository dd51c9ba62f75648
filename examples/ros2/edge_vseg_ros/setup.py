"""An ament package around ``edge_vseg.ros2.node``; edge-vseg itself is installed with pip."""

from glob import glob

from setuptools import setup

NAME = "edge_vseg_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),  # noqa: PTH207
        (f"share/{NAME}/config", glob("config/*.yaml")),  # noqa: PTH207
    ],
    install_requires=["setuptools", "edge-vseg"],
    entry_points={"console_scripts": ["segmentation = edge_vseg.ros2.node:main"]},
)
