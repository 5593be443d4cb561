"""Two who want one object: the first fetches it, the others wait and then read (behaviours F9).

A function over the protocol, so that it serves a peer over gRPC as well as the disk. Asking
again and again beats a blocking lock: it ends with the deadline, with Ctrl-C in any thread, and
as soon as the content is there under whatever ref.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from dist_tool.errors import Locked
from dist_tool.run import Event, Listeners, Notice

if TYPE_CHECKING:
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.run import Run

_FIRST_S = 0.016
_LONGEST_S = 2.0

_W = TypeVar("_W", covariant=True)


class _Ingester(Protocol[_W]):
    def writer(self, ref: str, desc: Descriptor | None = None) -> _W: ...


def wait_for_writer(
    ingester: _Ingester[_W], ref: str, desc: Descriptor | None, retry: Run, listeners: Listeners | None = None
) -> _W:
    """The writer of `ref`, once nobody else has it; with what they left, where they gave up.

    Raises AlreadyExists as soon as the content is there, DeadlineExceeded where `retry` has a
    deadline and it passes, and what opening a writer raises.
    """
    heard = listeners or Listeners()
    wait = _FIRST_S
    while True:
        try:
            return ingester.writer(ref, desc)
        except Locked as error:
            if wait == _FIRST_S:
                heard.report(Notice("info", f"{error.what}; waiting"))
            heard.progress(Event(ref, 0, desc.size if desc else None, "waiting"))
        left = retry.remaining()
        pause = wait * (0.5 + retry.random() / 2)
        retry.sleep(pause if left is None else min(pause, left))
        wait = min(2 * wait, _LONGEST_S)
