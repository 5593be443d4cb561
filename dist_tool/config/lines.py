"""Line numbers of the keys of a TOML text, which `tomllib` does not return."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress

Path = tuple[str | int, ...]

# No possessive quantifiers: Python up to 3.11.4 mis-matches them around alternatives. Each pattern has only one
# way to match a text, so they would not help.
_BLANK = re.compile(r"[ \t\r\n]*(?:#[^\n]*[ \t\r\n]*)*")
_BASIC = r'''"[^"\\]*(?:\\.[^"\\]*)*"'''
_LITERAL = r"""'[^']*'"""
_KEY = re.compile(rf"[ \t]*({_BASIC}|{_LITERAL}|[A-Za-z0-9_-]+)[ \t]*")
_STRING = re.compile(
    r'''"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""(?:"{0,2})'''  # up to two more quotes are part of the string
    r"""|'''[^']*(?:'(?!'')[^']*)*'''(?:'{0,2})"""
    rf"|{_BASIC}|{_LITERAL}",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def locate(text: str) -> dict[Path, int]:
    """The line, from 1, of every table, key and list element of `text`.

    Paths are those of the parsed document: `("remote", 0, "tls", "ca")`. A table that is created
    implicitly has the line that creates it. `text` must be TOML that tomllib has accepted: this
    reads its structure and validates nothing. It stops at text that it cannot read, and the keys
    after it have no line.
    """
    scanner = _Scanner(text)
    with suppress(ValueError):  # missing line numbers are not a reason to reject the file
        scanner.document()
    return scanner.lines


class _Scanner:
    """Scanner of TOML structure."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._lengths: dict[Path, int] = {}  # of arrays of tables, up to the current position

    def document(self) -> None:
        table: Path = ()
        self._take(_BLANK)
        while self._at < len(self._text):
            if self._skip("[["):
                table = self._next_of(self._keys())
                self._expect("]]")
            elif self._skip("["):
                table = self._resolved(self._keys())
                self._record(table)
                self._expect("]")
            else:
                self._pair(table)
            self._take(_BLANK)

    def _pair(self, table: Path) -> None:
        path = table + self._keys()
        self._record(path)
        self._expect("=")
        self._take(_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        self.lines[path] = self._line
        if self._skip("["):
            self._elements(path)
        elif self._skip("{"):
            self._pairs(path)
        else:
            self._take(_STRING if self._text[self._at : self._at + 1] in ('"', "'") else _SCALAR)

    def _elements(self, path: Path) -> None:
        index = 0
        self._take(_BLANK)
        while not self._skip("]"):
            self._value((*path, index))
            index += 1
            self._take(_BLANK)
            self._skip(",")
            self._take(_BLANK)

    def _pairs(self, path: Path) -> None:
        self._take(_BLANK)
        while not self._skip("}"):
            self._pair(path)
            self._take(_BLANK)
            self._skip(",")
            self._take(_BLANK)

    def _keys(self) -> tuple[str, ...]:
        keys = [self._key()]
        while self._skip("."):
            keys.append(self._key())
        return tuple(keys)

    def _key(self) -> str:
        word = self._take(_KEY).strip(" \t")
        if word[0] not in "\"'":
            return word
        if word[0] == '"' and "\\" in word:
            return str(tomllib.loads(f"key = {word}")["key"])
        return word[1:-1]

    def _next_of(self, keys: tuple[str, ...]) -> Path:
        """A new element of an array of tables."""
        array = (*self._resolved(keys[:-1]), keys[-1])
        index = self._lengths.get(array, 0)
        self._lengths[array] = index + 1
        self._record((*array, index))
        return (*array, index)

    def _resolved(self, keys: tuple[str, ...]) -> Path:
        """The path of a header; the name of an array of tables refers to its last element."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _record(self, path: Path) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self._line)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(self._at)
        self._at = match.end()
        self._line += match[0].count("\n")
        return match[0]

    def _skip(self, literal: str) -> bool:
        if not self._text.startswith(literal, self._at):
            return False
        self._at += len(literal)
        return True

    def _expect(self, literal: str) -> None:
        if not self._skip(literal):
            raise ValueError(self._at)
