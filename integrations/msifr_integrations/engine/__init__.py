"""Engines: decode loops in which the policy speaks between two steps.

`slots` is the engine of choice: a key-value cache of slots, one attempt each; a discarded attempt frees its slot before
the next step, and the queue refills it. `static` is for models whose cache cannot be cut into slots: it runs
transformers' `generate()`, saves tokens but hardly time. `probe.make_engine` tries.

`base` is what both have in common; the other modules import torch, the package itself does not.
"""
