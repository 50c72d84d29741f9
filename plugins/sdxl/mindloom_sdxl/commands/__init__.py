"""The sub-commands that this plugin brings to ``mindloom``."""
