"""The compile cache: a graph that was compiled once is loaded by the next process that needs exactly this graph.

MindSpore can write a compiled graph and read it back, but does not look at what it reads: it numbers the graphs of a
process and takes the file of that number, whatever it was made from (other shapes then read beyond the arrays). So it
only ever sees a private folder here, with one graph in it that is known to fit:

    ``fingerprint.py``   what a graph is made of, from the cell and the shapes
    ``key.py``           what else decides about it: versions, code, settings, machine, processes
    ``store.py``         entries under their keys: written whole or not at all, checked when read, the oldest dropped
    ``stage.py``         the private folder, and MindSpore's switches for the time of one compilation
    ``cache.py``         the four together

Compiling is the slow part that is saved; MindSpore still chooses kernels and allocates memory in every process.
"""

from __future__ import annotations

from .cache import GraphCache, open_cache

__all__ = ["GraphCache", "open_cache"]
