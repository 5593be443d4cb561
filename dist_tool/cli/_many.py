"""`dist fetch --stdin`: read lines, and write the objects that they name in the same order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from dist_tool.cli._errors import Failures
from dist_tool.cli._output import file_sink, stdin_lines, write_stdout
from dist_tool.cli._target import resolve
from dist_tool.errors import DistError, LocalFailure
from dist_tool.files import NotRegularFile, open_regular, os_errors
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.mediatypes import OCTET_STREAM, is_media_type
from dist_tool.stream.body import Body
from dist_tool.stream.pump import Sink, pump
from dist_tool.stream.spool import Spool
from dist_tool.stream.verify import Verifier
from dist_tool.transfer.batch import Line, Outcome, in_order

if TYPE_CHECKING:
    from dist_tool.cli._delivery import Delivery
    from dist_tool.transfer.repository import Repository


class _Incomplete(Exception):
    """Some objects failed, so an output file for all of them must not appear."""


def fetch_lines(repository: Repository, delivery: Delivery) -> int:
    """Fetch every object named on standard input; returns the exit code.

    A failure is reported with its line and does not stop the others. The exit code is the common
    code if all failures share one, else 1.
    """
    failures = Failures()
    try:
        with ExitStack() as stack:
            target: ConcatenatedOutput | DirectoryOutput
            if delivery.into is not None:
                target = DirectoryOutput(repository, delivery.into)
            else:
                target = ConcatenatedOutput(repository, delivery.open(stack), framed=delivery.frame)
            work: Callable[[Line], Any] = target.work
            for outcome in in_order(read_lines(b"\0" if delivery.null else b"\n"), work, delivery.jobs):
                target.deliver(outcome)
                if outcome.error is not None:
                    failures.note(_with_line(outcome.line, outcome.error, repository))
            if failures.exit_code():
                raise _Incomplete
    except _Incomplete:
        pass
    return failures.exit_code()


def _with_line(line: Line, error: DistError, repository: Repository) -> DistError:
    return error.with_facts(locator=str(repository.locator), object_id=f"{line.text.split()[0]} (line {line.number})")


def read_lines(separator: bytes) -> Iterator[Line]:
    """The lines of standard input as they arrive; empty lines are skipped.

    Raises LocalFailure, InvalidArgument for a line that is too long.
    """
    for number, line in enumerate(stdin_lines(separator), 1):
        yield from _line(number, line)


def _line(number: int, data: bytes) -> Iterator[Line]:
    text = data.decode("utf-8", "backslashreplace").strip()
    if text:
        yield Line(number, text)


class Spooled(NamedTuple):
    """A fetched and verified object, buffered until its turn to be written."""

    desc: Descriptor
    content: Spool


def spooled(repository: Repository, object_id: str, hints: Hints) -> Spooled:
    """Fetch an object into memory or a temporary file. The caller closes `content`."""
    content = Spool()
    try:
        options = repository.options._replace(small=0)  # the spool buffers the bytes already
        return Spooled(repository.fetch_to(object_id, content, hints, options), content)
    except BaseException:
        content.close()
        raise


class ConcatenatedOutput:
    """Writes the objects one after the other; with `framed`, each after a line DIGEST TYPE SIZE.

    Every object, of any size, is verified before its first byte is written.
    """

    def __init__(self, repository: Repository, sink: Sink, *, framed: bool) -> None:
        self._repository = repository
        self._sink = sink
        self._framed = framed

    def work(self, line: Line) -> Spooled:
        """Fetch the object of a line. Runs in a worker thread."""
        return spooled(self._repository, *line.parse())

    def deliver(self, outcome: Outcome[Spooled]) -> None:
        """Write the result of a line."""
        if outcome.result is None:
            if outcome.error is not None:
                self._frame(f"{outcome.line.text.split()[0]} error {outcome.error.exit_code}\n")
            return
        desc = outcome.result.desc
        with outcome.result.content:
            self._frame(_header(desc))
            outcome.result.content.copy_to(self._sink)
            self._frame("\n")

    def _frame(self, text: str) -> None:
        if self._framed:
            self._sink(memoryview(text.encode("utf-8", "backslashreplace")))


def _header(desc: Descriptor) -> str:
    """The line DIGEST TYPE SIZE of a frame.

    The type comes from the server: text that is not a media type could shift SIZE, and so the
    position of the next header.
    """
    media_type = desc.media_type if is_media_type(desc.media_type) else OCTET_STREAM
    return f"{desc.digest} {media_type} {desc.size}\n"


class DirectoryOutput:
    """Writes one file per digest to a directory, named ALGORITHM-ENCODED, and prints its path once complete."""

    def __init__(self, repository: Repository, directory: str) -> None:
        self._repository = repository
        self._directory = directory
        with os_errors(directory):
            target = resolve(directory)
            os.makedirs(directory if isinstance(target, int) else target, exist_ok=True)

    def work(self, line: Line) -> str:
        """Fetch the object of a line into its file, unless the file exists and is intact."""
        object_id, hints = line.parse()
        desc = self._repository.identify(object_id, hints)
        path = os.path.join(self._directory, f"{desc.digest.algorithm}-{desc.digest.encoded}")
        if not _is_intact(path, desc):
            with file_sink(path) as sink:
                self._repository.fetch_known(desc, sink, hints, self._repository.options._replace(small=0))
        return path

    def deliver(self, outcome: Outcome[str]) -> None:
        """Print the path."""
        if outcome.result is not None:
            write_stdout(os.fsencode(outcome.result) + b"\n")


def _is_intact(path: str, desc: Descriptor) -> bool:
    """Return True if a file holds exactly the object. The file is hashed: its name proves nothing.

    Raises LocalFailure if it is not a regular file: opening a FIFO could block, and reading a device never end.
    """
    try:
        descriptor = open_regular(path, follow_links=True)
    except NotRegularFile as error:
        raise LocalFailure(f"{path} is not a regular file", hint="remove it, or give another directory") from error
    except OSError:
        return False
    try:
        with open(descriptor, "rb", buffering=0) as file:
            pump(Body(file), Verifier(desc.digest, desc.size), lambda _: None, small=0)
    except (OSError, DistError):
        return False
    return True
