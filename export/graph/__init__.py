"""The canonical float graph: reading, static shapes, input stage and head."""
