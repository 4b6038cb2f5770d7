"""The command `wfctl`: answers what needs no import at once, else hands over to the command line.

Knows no verb."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the process was started with."""
    if sys.argv[1:] == ["--version"]:  # asked by every prompt and CI step: typer alone would cost three times as much
        from wfctl import __version__

        print(f"wfctl {__version__}")
        return
    from wfctl.cli import main as run

    run()


if __name__ == "__main__":
    main()
