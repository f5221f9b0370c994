"""The limit of open files of this process."""

import resource


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit, because each connection needs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
