"""ROS 2's topics: a port, and what reaches them with and without a ROS installation."""
