"""Engines on many machines: the same run, spread by Ray."""
