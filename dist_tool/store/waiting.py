"""Wait for a concurrent ingest of the same digest (behaviours F9).

A function over the protocol, so that it serves a peer over gRPC as well as the disk. Polling
instead of a blocking lock: it ends at the deadline, when the run is cancelled, with Ctrl-C in
any thread, and as soon as the content is there under any ref.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from dist_tool.errors import Locked
from dist_tool.run import NO_RUN, Event, Notice, Run

if TYPE_CHECKING:
    from dist_tool.oci.descriptor import Descriptor

_FIRST_S = 0.016
_LONGEST_S = 2.0

_W = TypeVar("_W", covariant=True)


class _Ingester(Protocol[_W]):
    def writer(self, ref: str, desc: Descriptor | None = None) -> _W: ...


def wait_for_writer(ingester: _Ingester[_W], ref: str, desc: Descriptor | None, run: Run = NO_RUN) -> _W:
    """The writer of `ref`, once no other writer has it; it continues from the bytes that one left.

    Raises AlreadyExists as soon as the content is there, DeadlineExceeded and Cancelled as
    `run` does, and what opening a writer raises.
    """
    wait = _FIRST_S
    while True:
        try:
            return ingester.writer(ref, desc)
        except Locked as error:
            if wait == _FIRST_S:
                run.report(Notice("info", f"{error.what}; waiting"))
            run.progress(Event(ref, 0, desc.size if desc else None, "waiting"))
        run.sleep(wait * (0.5 + run.random() / 2))
        wait = min(2 * wait, _LONGEST_S)
