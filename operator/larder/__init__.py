"""Larder: a pool of Triton pods as one virtual server, its memory used as a cache of models."""

__version__ = "0.1.0"
