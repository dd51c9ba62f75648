"""ROS 2's messages without ROS 2: their definitions, their bytes (CDR), their schema texts, and images in them."""
