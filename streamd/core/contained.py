from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def contained(call: Callable[[], Result]) -> Result:
    """Call code of the user. Raises only an `Exception`.

    So an exit, an interrupt or a cancellation that this code raises ends neither the daemon nor a task of it.
    """
    try:
        return call()
    except Exception:
        raise
    except BaseException as error:
        text = f"the step raised {type(error).__name__}"
        raise RuntimeError(text).with_traceback(error.__traceback__) from error
