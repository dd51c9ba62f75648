"""Train the reference networks on CamVid and rendered streets.

Needs the extra ``train``. On the command line: ``edge-vseg-train``.
"""
