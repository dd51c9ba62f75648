"""Kinds of cameras that are more than an address for FFmpeg."""
