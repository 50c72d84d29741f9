"""Every layout that SDXL's weights come in on disk, read and written one tensor at a time, without mindspore."""
