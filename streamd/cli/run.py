"""`streamd run`: runs the daemon in the foreground."""

import argparse

from streamd.cli import CONFIG_HELP
from streamd.cli._lean_imports import lean_imports


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)


def main(args: argparse.Namespace) -> int:
    """Run until a signal. Raises `ConfigError` or `EnvironmentFault`."""
    with lean_imports():
        import asyncio  # noqa: PLC0415 - imported when the command runs, not for its help
        import os  # noqa: PLC0415
        import signal  # noqa: PLC0415
        import sys  # noqa: PLC0415

        import structlog  # noqa: PLC0415
        import uvloop  # noqa: PLC0415

        from streamd import config, daemon  # noqa: PLC0415
        from streamd.core.errors import StreamdError, describe  # noqa: PLC0415
        from streamd.core.printing import flush_each_line  # noqa: PLC0415
        from streamd.logs import logs  # noqa: PLC0415
        from streamd.processes import link, supervisor  # noqa: PLC0415
        from streamd.reload.required_tests import require_tests  # noqa: PLC0415
        from streamd.runtime.closing import CLOSE_TIMEOUT_S  # noqa: PLC0415

    process = link.assigned(os.environ)
    loaded = config.load(config.find(args.config))
    if process is not None:
        loaded = process.share(loaded)
    flush_each_line()
    logs.configure(
        loaded.config.log.level,
        loaded.config.log.format,
        more=None if process is None else {"process": process.number},
    )
    sys.setswitchinterval(daemon.SWITCH_INTERVAL_S)

    async def run() -> int:
        if loaded.config.daemon.tests == "require":
            await require_tests(loaded.path)
        if process is None and loaded.config.daemon.process_count > 1:
            code = await supervisor.Supervisor(loaded).run()
        else:
            code = await daemon.Daemon(loaded, process).run()
        late = asyncio.all_tasks() - {asyncio.current_task()}
        for task in late:
            task.cancel()
        if late and (await asyncio.wait(late, timeout=CLOSE_TIMEOUT_S))[1]:
            os._exit(code)  # a step's coroutine ignores its cancellation
        return code

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run())
    except StreamdError:
        raise
    except BaseException as error:  # noqa: BLE001 - database threads must not keep the process alive
        structlog.get_logger().critical("daemon_failed", error=describe(error), exc_info=error)
        os._exit(1)
    finally:  # the loop restored Python's handler, which would print a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
