"""Wait for a concurrent ingest of the same digest (behaviours F9).

A function over the protocol, so that it works for a peer over gRPC as well as for the disk. It
polls instead of blocking on the lock: so it ends at the deadline, when the run is cancelled, on
Ctrl-C in any thread, and as soon as the content is committed under any ref.
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
    """Open the writer of `ref`, waiting until it has no other writer; existing bytes are resumed.

    Raises AlreadyExists as soon as the content is in the store, DeadlineExceeded and Cancelled
    from `run`, and the errors of `Ingester.writer` except Locked.
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
