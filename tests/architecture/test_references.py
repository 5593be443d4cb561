"""Citations resolve: each numbered behaviour, security section and incident that is cited is in the documentation."""

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
DOCS = ROOT / "docs"
SECTIONS = "ABCDEFGHRTW"
SOURCES = sorted([*(ROOT / "dist_tool").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])

# `B26`, `B24-B33` and `B24-33`; not a part of a longer word, and not a range of characters such as `A-F0-9`.
_CODE = re.compile(rf"(?<![\w-])([{SECTIONS}])([1-9][0-9]?)(?:-([{SECTIONS}]?)([1-9][0-9]?))?(?![\w-])")
_GROUP = re.compile(r"\b[Bb]ehaviours (?:group )?([A-Z])\b")
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
# `security 2.1`, `docs/security.md 5`, `docs/security.md, 2.1, 2.2`, `security.md, section 5`.
_SECURITY = re.compile(
    rf"\b[Ss]ecurity(?:\.md)?,? (?:section )?({_NUMBER}(?:,? (?:and )?{_NUMBER}(?![\w%]))*)",
)
_INCIDENT = re.compile(r"\b(?:CVE-[0-9]{4}-[0-9]{4,}|GHSA(?:-[0-9a-z]{4}){3})\b")
_CODED_NAME = re.compile(rf"\bdef (test_(?:\w*_)?[{SECTIONS.lower()}][1-9][0-9]?_\w+)")


class Text(NamedTuple):
    """A text that may contain citations, and the line on which it begins."""

    file: str
    line: int
    text: str


def behaviours(page: str) -> list[str]:
    """The codes that the page defines, in its order."""
    return re.findall(r"^- \*\*([A-Z][0-9]+)\*\* ", page, re.MULTILINE)


def numbered_sections(page: str) -> set[str]:
    """`2`, `2.1`: numbered headings, and numbered items of a section."""
    return set(re.findall(rf"^(?:#+ |- \*\*)({_NUMBER})\b", page, re.MULTILINE))


BEHAVIOURS = behaviours((DOCS / "behaviours.md").read_text(encoding="utf-8"))
SECURITY = numbered_sections((DOCS / "security.md").read_text(encoding="utf-8"))


def prose(path: Path, source: str) -> Iterator[Text]:
    """Docstrings of a module, and those comments that cite; nothing of a module without citations."""
    file = str(path.relative_to(ROOT))
    if not _cites(source):
        return
    if any(_cites(line.partition("#")[2]) for line in source.split("\n")):  # to tokenize all modules takes seconds
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield Text(file, token.start[0], token.string)
    for node in _documented(ast.parse(source)):
        text = ast.get_docstring(node, clean=False)
        if text is not None:
            yield Text(file, node.body[0].lineno, text)


def _documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """What may have a docstring. Expressions are not visited: that is most of the tree."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]


def _cites(text: str) -> bool:
    return any(pattern.search(text) for pattern in (_CODE, _GROUP, _SECURITY))


def expanded(section: str, first: int, other: str, last: int) -> list[str]:
    """All codes of a range; an invalid range is returned as written, and so is reported as unknown."""
    if (other or section) != section or last <= first:
        return [f"{section}{first}-{other}{last}"]
    return [f"{section}{number}" for number in range(first, last + 1)]


def cited_behaviours(text: str) -> Iterator[str]:
    """Codes, ranges expanded, and sections as `group X`."""
    for section, first, other, last in _CODE.findall(text):
        yield from expanded(section, int(first), other, int(last)) if last else [section + first]
    for section in _GROUP.findall(text):
        yield f"group {section}"


def cited_sections(text: str) -> Iterator[str]:
    """Sections of docs/security.md."""
    for numbers in _SECURITY.findall(text):
        yield from re.findall(_NUMBER, numbers)


@cache
def texts() -> tuple[Text, ...]:
    """Everything that may cite: sources, this file excepted, and documentation."""
    sources = [path for path in SOURCES if path != Path(__file__).resolve()]
    found = [text for path in sources for text in prose(path, path.read_text(encoding="utf-8"))]
    return (*found, *(Text(str(path.relative_to(ROOT)), 1, path.read_text(encoding="utf-8")) for path in PAGES))


def coded_names(source: str) -> list[str]:
    """The tests that have the code of a behaviour in their names."""
    return _CODED_NAME.findall(source)


def unknown(text: str) -> list[str]:
    """Citations in `text` that the documentation does not define."""
    known = {*BEHAVIOURS, *(f"group {section}" for section in SECTIONS)}
    wrong = [code for code in cited_behaviours(text) if code not in known]
    return wrong + [f"security {number}" for number in cited_sections(text) if number not in SECURITY]


def test_every_citation_is_defined() -> None:
    assert [f"{at.file}:{at.line} cites {what}" for at in texts() for what in unknown(at.text)] == []


def test_every_incident_cited_in_code_is_listed_in_the_security_page() -> None:
    listed = set(_INCIDENT.findall((DOCS / "security.md").read_text(encoding="utf-8")))
    cited = {
        (number, str(path.relative_to(ROOT)))
        for path in SOURCES
        for number in _INCIDENT.findall(path.read_text(encoding="utf-8"))
    }
    assert cited
    assert sorted(f"{file} cites {number}" for number, file in cited if number not in listed) == []


def test_every_incident_of_the_security_page_is_cited_in_code() -> None:
    """In full, or as the beginning of a test's name: `test_ghsa_298f_…`."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES if path != Path(__file__).resolve())
    listed = _INCIDENT.findall((DOCS / "security.md").read_text(encoding="utf-8"))
    names = {number: "_".join(number.lower().split("-")[: 3 if number.startswith("CVE") else 2]) for number in listed}
    assert [number for number, name in names.items() if number not in code and name not in code] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_named_in_the_documentation_exists(path: Path) -> None:
    """Of the tests: the tables of the security page name the test for each figure."""
    named = re.findall(r"`((?:tests|docs)/[\w./-]+\.\w+)`", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_behaviours_are_numbered_in_order() -> None:
    assert {code[0] for code in BEHAVIOURS} == set(SECTIONS)
    for section in SECTIONS:
        numbers = [int(code[1:]) for code in BEHAVIOURS if code[0] == section]
        assert numbers == sorted(set(numbers))


def test_citations_are_found() -> None:
    """A broken pattern would find nothing and hide unknown citations."""
    found = [code for at in texts() if at.file.endswith(".py") for code in cited_behaviours(at.text)]
    assert {"A2", "B26", "C10", "D17", "E18", "F5", "G4", "H8", "R6", "T7", "W5", "B21", "group B"} <= set(found)
    assert {"0.1", "2.1", "5"} <= {number for at in texts() for number in cited_sections(at.text)}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("behaviours B26", []),
        ("(B99)", ["B99"]),
        ("behaviours C10, D99", ["D99"]),
        ("behaviours A20-A23", ["A22", "A23"]),
        ("behaviours A2-B3", ["A2-B3"]),
        ("trap T11", ["T11"]),
        ("behaviours group Z", ["group Z"]),
        ("docs/security.md, 2.1, 2.9", ["security 2.9"]),
        ("security.md, section 9: at least 80", ["security 9"]),
        ("Security 2.1.", []),
        ("[A-Fa-f0-9] A1B2 x-B99 security.selinux", []),
    ],
)
def test_an_undefined_citation_is_found(text: str, wrong: list[str]) -> None:
    assert unknown(text) == wrong


def test_citations_are_read_from_comments_and_docstrings() -> None:
    source = '"""One (B1)."""\nVALUE = "B2"  # three (B3)\ndef test_a_name():\n    """Five (B5)."""\n'
    found = [code for at in prose(ROOT / "imagined.py", source) for code in cited_behaviours(at.text)]
    assert sorted(found) == ["B1", "B3", "B5"]


def test_names_of_tests_carry_no_codes() -> None:
    """A name states what is checked; the docstring cites the behaviour."""
    tests = [path for path in SOURCES if path.is_relative_to(ROOT / "tests") and path != Path(__file__).resolve()]
    assert [f"{path.name}: {name}" for path in tests for name in coded_names(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("name", "coded"),
    [
        ("test_b2_a_tag", True),
        ("test_a_tag_w6_twice", True),
        ("test_a_404_is_final", False),
        ("test_utf_8_names", False),
    ],
)
def test_a_code_in_a_name_is_found(name: str, coded: bool) -> None:
    assert coded_names(f"def {name}() -> None: ...") == ([name] if coded else [])
