"""The world outside: the generation engine, the command line, reports, the embedded model and the demo.

Nothing here is imported eagerly; torch and transformers are loaded by the modules that need them, when they run.
"""
