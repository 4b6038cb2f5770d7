"""The command `wfctl`: answers what needs no import at once, else hands over to the command line.

Knows no verb."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that the process was started with."""
    if sys.argv[1:] == ["--version"]:  # asked by every prompt and CI step: typer alone would cost three times as much
        from wfctl import __version__

        print(f"wfctl {__version__}")
        return
    if sys.argv[1:2] == ["__complete"]:  # asked by a shell at a key press, which must never see an error
        try:
            from wfctl.completers import main as complete

            complete(sys.argv[2:])
        except BaseException:
            pass
        os._exit(0)
    import gc

    # A start makes many objects and no garbage: looking for it costs a start 5 ms, and a file of 10,000 nodes 0.1 s.
    gc.set_threshold(100_000, 20, 20)
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C while a run goes on is heard by the run. Elsewhere an exception would come out of the middle of other
        # people's code, changed and with all that it passed; and no default action would end process 1.
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    from wfctl.cli import main as run

    code = run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # closed, or nobody reads it any more
            pass
    # All is written and every process is gone: to take the interpreter apart would cost 5 ms, 0.1 s after 10,000 nodes.
    os._exit(code)


if __name__ == "__main__":
    main()
