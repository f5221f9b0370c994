"""`python -m streamd` and the `streamd` command."""

import signal
import sys


def main() -> int:
    """Run the command and return its exit code.

    The imports of a daemon take a quarter of a second. A SIGHUP during the imports stays pending in the
    kernel until `Daemon.run` can reload. SIGUSR1 and SIGUSR2 have no meaning for streamd and are ignored.
    SIGINT ends the process like SIGTERM, without a traceback, because nothing is open yet.
    """
    if "run" in sys.argv[1:]:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from streamd import cli  # noqa: PLC0415 - the slow import, so the signals are set up before it

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
