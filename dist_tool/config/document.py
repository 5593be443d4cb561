"""Parsed TOML documents: values with their file, line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dist_tool.config.lines import Path, locate
from dist_tool.errors import InvalidArgument

T = TypeVar("T")

_POSITION = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TYPES = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """The origin of a document: file, lines by path, and the environment for its `${NAME}`.

    `errors` collects all errors found; the first is raised.
    """

    file: str
    lines: Mapping[Path, int]
    environ: Mapping[str, str]
    errors: list[InvalidArgument] = field(default_factory=list, compare=False)

    def where(self, path: Path) -> str:
        """`FILE:LINE` of the value at `path`, or of the nearest enclosing table."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.file}:{self.lines[path[:length]]}"
        return self.file


@dataclass(frozen=True, slots=True)
class Value:
    """A value in a document: the whole document, a table, a list or a scalar. `raw` is the result of tomllib."""

    source: DocumentSource
    path: Path
    raw: Any

    @property
    def where(self) -> str:
        """`FILE:LINE`."""
        return self.source.where(self.path)

    @property
    def name(self) -> str:
        """The dotted key, relative to its `[[remote]]` or to the document."""
        within = self.path[2:] if self.path[0] == "remote" else self.path
        return "".join(map(_key_part, within)).removeprefix(".") or str(self.path[0])

    def child(self, key: str | int) -> Value:
        """The value under a key of a table, or at an index of a list."""
        return Value(self.source, (*self.path, key), self.raw[key])

    def children(self) -> Iterator[Value]:
        """The values directly in a table or a list, in the file's order."""
        return (self.child(key) for key in (self.raw if isinstance(self.raw, dict) else range(len(self.raw))))

    def each(self, read: Callable[[Value], T]) -> list[T]:
        """The results of `read` for each child. All are read, then the first error is raised."""
        first: InvalidArgument | None = None
        found = []
        for child in self.children():
            try:
                found.append(read(child))
            except InvalidArgument as error:
                first = first or error
                if error not in self.source.errors:
                    self.source.errors.append(error)
        if first is not None:
            raise first
        return found

    def error(self, what: str, hint: str = "") -> InvalidArgument:
        """An InvalidArgument with `FILE:LINE`, for the caller to raise. `what` must not contain secrets."""
        return InvalidArgument(f"{self.where}: {what}", hint=hint)

    def expected(self, what: str, example: str = "") -> InvalidArgument:
        """The error for a value of the wrong type."""
        got = _TYPES.get(type(self.raw), "a date or time")
        return self.error(f"{self.name}: expected {what}, got {got}", f"as in {example}" if example else "")

    def parsed(self, parse: Callable[[Any], T]) -> T:
        """The result of `parse` for the raw value; file, line and key are added to its InvalidArgument."""
        try:
            return parse(self.raw)
        except InvalidArgument as error:
            raise self.error(f"{self.name}: {error.what}", error.hint) from error


def _key_part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _BARE.fullmatch(part) else f".{part!r}"


def parse_document(file: str, data: bytes, environ: Mapping[str, str]) -> Value:
    """Parse TOML. Raises InvalidArgument with the file and, if known, the line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"{file}:{line}: not UTF-8, which TOML requires") from error
    try:
        raw, lines = tomllib.loads(text), locate(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, text, str(error)) from error
    except ValueError as error:  # from int(), which tomllib does not catch
        raise InvalidArgument(f"{file}: not valid TOML: a number has too many digits") from error
    except RecursionError as error:
        raise InvalidArgument(f"{file}: nested too deeply") from error
    return Value(DocumentSource(file, lines, environ), (), raw)


def _syntax_error(file: str, text: str, message: str) -> InvalidArgument:
    position = _POSITION.search(message)
    line = (position and position[1]) or text.rstrip().count("\n") + 1
    return InvalidArgument(f"{file}:{line}: not valid TOML: {_POSITION.sub('', message)}")
