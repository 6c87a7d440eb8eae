"""The program `msifr`: an interrupt ends it with status 130 even while its parts are being loaded."""

import sys


def run() -> None:
    """Run the command line."""
    try:
        from msifr_integrations.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)
    main()
