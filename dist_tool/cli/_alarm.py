"""Time limit of a whole command, including system calls that have no timeout.

Requests, locks and programs check the deadline themselves and fail with a better message. The alarm
covers the rest: a stalled reader of standard output, a silent standard input, a FIFO with no other end.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_GRACE_S = 0.5  # code that checks the deadline itself fails first
_AGAIN_S = 5.0  # repeated: an exception raised in a destructor is lost, and cleanup may block


class TimeLimitReached(BaseException):
    """The command has reached its time limit. Not an Exception, so that no handler of those catches it."""


def set_alarm(seconds: float | None) -> None:
    """Raise TimeLimitReached in the main thread shortly after `seconds` from now; None cancels the alarm.

    Replaces an earlier alarm. Does nothing in other threads: only the main thread handles signals.
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
    raise TimeLimitReached
