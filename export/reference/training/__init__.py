"""Train the reference networks: data, augmentation, losses, a restartable loop.

Needs the extra ``train``; the command is ``edge-vseg-train``.
"""
