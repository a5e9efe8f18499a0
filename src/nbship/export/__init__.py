"""What nbship hands to other tools' registries: one file each, each with an extra of its own.

A copy for who looks there; Git and DVC remain the truth, and nothing here is read back to decide anything.
"""
