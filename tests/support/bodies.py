"""Sources in memory for what reads bodies: cut where a test says, in pieces as it likes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dist_tool.errors import Truncated
from dist_tool.run import Run
from dist_tool.stream.body import Body


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets: `data` from `start` (None: from where it was asked), `count` bytes of it (None: all).

    After them comes an error where `loud`, else an end like any other. `declared` is the total
    that is told, None for none.
    """

    data: bytes
    count: int | None = None
    loud: bool = True
    start: int | None = None
    declared: int | None = None


class CutBody(Body):
    """A body that gives pieces of at most `pieces` bytes and then ends as its answer says."""

    def __init__(self, answer: Answer, asked: int, pieces: Iterator[int]) -> None:
        start = asked if answer.start is None else answer.start
        super().__init__(offset=start, total=answer.declared, source="memory")
        end = len(answer.data) if answer.count is None else start + answer.count
        self._left = answer.data[start:end]
        self._loud = answer.loud and end < len(answer.data)
        self._pieces = pieces
        self.closed = False

    def readinto(self, view: memoryview) -> int:
        assert not self.closed
        piece = self._left[: min(len(view), next(self._pieces, 1 << 16))]
        if not piece and self._loud:
            raise Truncated("memory was cut")
        view[: len(piece)] = piece
        self._left = self._left[len(piece) :]
        return len(piece)

    def close(self) -> None:
        self.closed = True


class Scripted:
    """The `reopen` of a reader: one answer a call, the last for ever. `asked` notes the offsets."""

    def __init__(self, answers: Sequence[Answer], pieces: Iterable[int] = ()) -> None:
        self._answers = list(answers)
        self._pieces = iter(pieces)
        self.asked: list[int] = []
        self.bodies: list[CutBody] = []

    def __call__(self, offset: int) -> Body:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.asked.append(offset)
        self.bodies.append(CutBody(answer, offset, self._pieces))
        return self.bodies[-1]


PATIENT = Run(pause=lambda _: None)


class Collected:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.writes: list[int] = []

    def __call__(self, view: memoryview) -> None:
        self.data += view
        self.writes.append(len(view))
