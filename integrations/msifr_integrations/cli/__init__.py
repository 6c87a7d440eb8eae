"""The command line: `msifr score|fit|evaluate|simulate|generate`."""

from msifr_integrations.cli.main import main as main
