"""The command line: `msifr score|fit|simulate|evaluate|generate`."""

from msifr_integrations.cli.main import main

__all__ = ["main"]
