"""The reference pages, one module each; written by ``tools/make_reference.py``."""
