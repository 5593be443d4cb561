"""Batches: many objects of one remote in one process, with one login, one connection pool and bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from dist_tool.errors import DistError, InvalidArgument
from dist_tool.names.hints import Hints, parse_hints
from dist_tool.threads import start_thread

_T = TypeVar("_T")
# Maximum length of a blocking wait: Python handles a signal that arrives as a wait begins only after the wait.
_POLL_S = 1.0


class Line(NamedTuple):
    """One line of input: `OBJECT [HINT...]`. `number` counts from 1."""

    number: int
    text: str

    def parse(self) -> tuple[str, Hints]:
        """The object and its hints. Raises InvalidArgument."""
        if "\n" in self.text:
            raise InvalidArgument("the NUL-terminated record holds several lines", hint="omit -0 to read lines")
        words = self.text.split()
        if not words:
            raise InvalidArgument("the line is empty")
        return words[0], parse_hints(words[1:])


class Outcome(NamedTuple, Generic[_T]):
    """The outcome of a line: a result or an error."""

    line: Line
    result: _T | None
    error: DistError | None


class _Job(Generic[_T]):
    """A line that is queued, in work or done."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.done = threading.Event()
        self.outcome: Outcome[_T] | None = None
        self.bug: BaseException | None = None


def in_order(lines: Iterable[Line], work: Callable[[Line], _T], jobs: int) -> Iterator[Outcome[_T]]:
    """Run `work` on every line, `jobs` at a time; outcomes come in the order of the lines.

    Lines are read as they arrive and each outcome is yielded as soon as all earlier ones are, so
    that a coprocess can send a request and read its response. At most 2 * `jobs` lines are in
    work or waiting to be yielded. A DistError of `work` is an outcome; any other exception is
    raised here. The threads are daemons: a caller that stops iterating need not wait for them. If
    the system cannot start enough threads, fewer lines are processed at a time, at least one, in
    this thread.
    """
    waiting: SimpleQueue[_Job[_T] | None] = SimpleQueue()
    ordered: SimpleQueue[_Job[_T] | BaseException | None] = SimpleQueue()
    window = threading.Semaphore(2 * jobs)

    def read() -> None:
        try:
            for line in lines:
                window.acquire()
                job: _Job[_T] = _Job(line)
                ordered.put(job)
                waiting.put(job)
            ordered.put(None)
        except BaseException as error:
            ordered.put(error)
        for _ in range(jobs):
            waiting.put(None)

    def serve() -> None:
        while (job := waiting.get()) is not None:
            _run(job, work)

    if start_thread(read, name="dist-many") is None:
        yield from _one_by_one(lines, work)
        return
    workers = sum(start_thread(serve, name="dist-many") is not None for _ in range(jobs))
    while (job := _get(ordered)) is not None:
        if isinstance(job, BaseException):
            raise job
        if not workers:
            _run(job, work)
        while not job.done.wait(_POLL_S):
            pass
        yield _outcome(job)
        window.release()


def _one_by_one(lines: Iterable[Line], work: Callable[[Line], _T]) -> Iterator[Outcome[_T]]:
    for line in lines:
        job: _Job[_T] = _Job(line)
        _run(job, work)
        yield _outcome(job)


def _outcome(job: _Job[_T]) -> Outcome[_T]:
    if job.bug is not None:
        raise job.bug
    assert job.outcome is not None
    return job.outcome


def _get(queue: SimpleQueue[_T]) -> _T:
    while True:
        try:
            return queue.get(timeout=_POLL_S)
        except Empty:
            pass


def _run(job: _Job[_T], work: Callable[[Line], _T]) -> None:
    try:
        job.outcome = Outcome(job.line, work(job.line), None)
    except DistError as error:
        job.outcome = Outcome(job.line, None, error)
    except BaseException as error:
        job.bug = error
    job.done.set()


def shared_exit_code(errors: Iterable[DistError]) -> int:
    """The exit code of a command that continued after failures: that of all errors if they agree, else 1."""
    codes = {error.exit_code for error in errors}
    return codes.pop() if len(codes) == 1 else 1 if codes else 0
