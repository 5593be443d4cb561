"""Plain English: idioms that house style replaces do not occur.

Examined are docstrings and comments of dist_tool, and the documentation; not code, and not messages.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dist_tool"
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])

# A `where` is a condition unless the word before it makes it a location or an indirect question.
_LOCATION_BEFORE = (
    "is are be was were from to of about on shows show see know knows find finds tells says decides defines records "
    "prints explains exactly select and directory path line point position location offset host out"
)
_NOT_AFTER = "".join(rf"(?<!\b{word} )" for word in _LOCATION_BEFORE.split(" "))

# The idiom, what counts as one, and what replaces it.
IDIOMS = {
    "where": (rf"(?<!\A){_NOT_AFTER}\bwhere\b(?! to\b)", "if, when"),
    "persons": (r"\b(?:whoever|nobody|somebody|anybody)\b", "the caller, no process, another process, no source"),
    "speech": (r"\b(?:told|tells|says|said)\b", "returns, raises, reports, sets, declares, warns"),
    "anew": (r"\banew\b", "again, from the beginning"),
    "outright": (r"\boutright\b", "always, without a retry, immediately"),
    "come to": (r"\b(?:comes?|came) to\b", "is, results in, amounts to"),
    "of ours": (r"\bof ours\b", "our"),
    "clause as a title": (r"\A(?:What|Who|Where|How) (?!to\b)", "the standard term, a noun"),
    "place": (
        r"(?<!\bin )(?<!\binto )(?<!\btakes )(?<!\btake )\bplaces?\b",
        "mirror, endpoint, path, directory, slot, position",
    ),
}
_PATTERNS = {idiom: re.compile(pattern, re.IGNORECASE) for idiom, (pattern, _) in IDIOMS.items()}


class Text(NamedTuple):
    """One docstring, block of comments or paragraph."""

    file: str
    line: int
    text: str
    docstring: bool = False


class Found(NamedTuple):
    """One occurrence of an idiom."""

    idiom: str
    at: str

    def __str__(self) -> str:
        return f"{self.at} [{self.idiom}: {IDIOMS[self.idiom][1]}]"


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments with their line; comments on successive lines are one text."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != last + 1:
                yield first, " ".join(block)
                block = []
            first = first if block else token.start[0]
            last = token.start[0]
            block.append(token.string.lstrip("#"))
    if block:
        yield first, " ".join(block)


def texts(path: Path, source: str) -> Iterator[Text]:
    file = str(path.relative_to(ROOT))
    if path.suffix == ".md":
        plain = re.sub(r"^```.*?^```|^ {4}.*?$", lambda block: "\n" * block[0].count("\n"), source, flags=re.M | re.S)
        for paragraph in re.finditer(r"\S(?:.|\n(?!\s*\n))*", plain):
            yield Text(file, plain.count("\n", 0, paragraph.start()) + 1, paragraph[0])
        return
    yield from (Text(file, line, text) for line, text in comments(source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield Text(file, node.body[0].lineno, text, docstring=True)


def occurrences(text: Text) -> Iterator[Found]:
    """The idioms in one text, without questions and quoted code."""
    plain = " ".join(re.sub(r"`[^`]*`", "CODE", text.text).split())
    for idiom, pattern in _PATTERNS.items():
        if idiom == "clause as a title" and not text.docstring:
            continue
        for found in pattern.finditer(plain):
            if idiom == "where" and re.match(r"[^.:;]*\?", plain[found.start() :]):
                continue
            excerpt = plain[max(0, found.start() - 40) : found.end() + 40]
            yield Found(idiom, f"{text.file}:{text.line}: …{excerpt}…")


def room(path: Path) -> str:
    """The first name below the package, or the name of the page."""
    if path.suffix == ".md":
        return str(path.relative_to(ROOT))
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def found_in() -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for path in [*sorted(PACKAGE.rglob("*.py")), *PAGES]:
        if "_pb" not in path.parts:
            listed = found.setdefault(room(path), [])
            for text in texts(path, path.read_text(encoding="utf-8")):
                listed += occurrences(text)
    return found


@pytest.mark.parametrize("name", sorted(found_in()))
def test_text_is_plain_english(name: str) -> None:
    found = found_in()[name]
    assert not found, "reword\n" + "\n".join(str(one) for one in found)


@pytest.mark.parametrize(
    ("text", "idioms"),
    [
        ("None where it is absent.", ["where"]),
        ("Raises NotFound where there is no such file.", ["where"]),
        ("Goes on. Where the mirror fails, the next one is asked.", ["where"]),
        ("`size` is checked where `given` is set", ["where"]),
        ("Wrapped where\n    a line ends", ["where"]),
        ("the directory where it lies, and the line where a key is; this is where names begin", []),
        ("Shows where the mirror comes from, and where to look.", []),
        ("Unanswered. Where does it lie?", []),
        ("whoever asks and nobody else", ["persons", "persons"]),
        ("The server said no and the header says why.", ["speech", "speech"]),
        ("Begun anew, refused outright.", ["anew", "outright"]),
        ("It comes to five. A lock of ours.", ["come to", "of ours"]),
        ("What a name means.", ["clause as a title"]),
        ("Where a blob is or would be.\n\nMore.", ["clause as a title"]),
        ("The place of a name, in place of its places. `place` takes place.", ["place", "place"]),
        ("Placeholders are replaced; everywhere.", []),
    ],
)
def test_idioms_are_recognised(text: str, idioms: list[str]) -> None:
    found = occurrences(Text("a.py", 1, text, docstring=True))
    assert [one.idiom for one in found] == sorted(idioms, key=list(IDIOMS).index)


def test_comments_docstrings_and_pages_are_read() -> None:
    source = '"""One."""\nX = "where it is"  # two\n# three\n\n# four\ndef f():\n    """Five."""\n'
    found = [(text.line, text.text) for text in texts(PACKAGE / "imagined.py", source)]
    assert found == [(2, " two  three"), (5, " four"), (1, "One."), (7, "Five.")]
    page = "Text.\n\n```\nwhere it is\n```\n\nMore.\n"
    assert [(text.line, text.text.strip()) for text in texts(ROOT / "imagined.md", page)] == [
        (1, "Text."),
        (7, "More."),
    ]
