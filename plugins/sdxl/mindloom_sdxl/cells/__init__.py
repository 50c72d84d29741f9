"""SDXL's networks as MindSpore cells, with the parameter names and shapes of the official single-file checkpoint."""
