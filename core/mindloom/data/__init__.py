"""From samples to batches: opening, ordering, dividing, mending; what a format delivers is in ``mindloom.formats``."""
