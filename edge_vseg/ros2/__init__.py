"""A ROS 2 node that segments a camera topic: on DDS without a ROS installation, or on rclpy."""
