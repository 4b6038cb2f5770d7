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
    import gc

    # A start makes many objects and no garbage: looking for it costs a start 5 ms, and a file of 10,000 nodes 0.1 s.
    gc.set_threshold(100_000, 20, 20)
    from wfctl.cli import main as run

    run()


if __name__ == "__main__":
    main()
