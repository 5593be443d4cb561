"""The time limit of a whole command, also for system calls that have no time limit of their own.

Requests, locks and programs check the deadline themselves and fail with a better message. This is
for the rest: a reader that stops, a silent standard input, a FIFO that nothing else has open.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_GRACE_S = 0.5  # what checks the deadline itself comes first
_AGAIN_S = 5.0  # an exception that is raised in a destructor is lost, and cleaning up may block


class TimeIsOver(BaseException):
    """The command has run for as long as it may. Not an Exception: nothing on the way up may handle it."""


def set_alarm(seconds: float | None) -> None:
    """Raise TimeIsOver in the main thread `seconds` from now and a moment, or never. Replaces an earlier alarm.

    Does nothing in other threads: signals are handled in the main thread only.
    """
    if seconds is None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return
    try:
        signal.signal(signal.SIGALRM, _on_alarm)
    except ValueError:  # not the main thread
        return
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0) + _GRACE_S, _AGAIN_S)


def _on_alarm(_number: int, _frame: FrameType | None) -> None:
    raise TimeIsOver
