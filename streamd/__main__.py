"""`python -m streamd` and the `streamd` command."""

import signal
import sys


def main() -> int:
    """Run the command; returns its exit code.

    What a daemon imports takes a quarter of a second. A SIGHUP that comes meanwhile waits in the kernel
    until `Daemon.run` can reload; SIGUSR1 and SIGUSR2, which mean nothing to streamd, end nothing. SIGINT
    ends the process as SIGTERM does, without a traceback: nothing is open yet.
    """
    if "run" in sys.argv[1:]:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from streamd import cli  # noqa: PLC0415 - only now: it is what takes so long

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
