"""Entry point of the command line: `rational-icl`, or `python -m rational_icl`."""

import os
import signal


def run() -> None:
    """Run the command that was typed, and end the process."""
    if os.name == "posix":
        # until somebody answers them, below
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    from rational_icl.cli.stopping import answer_signals

    answer_signals()
    from rational_icl.cli import main

    main()


if __name__ == "__main__":
    run()
