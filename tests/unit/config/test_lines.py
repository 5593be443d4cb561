"""On which line a key stands."""

from __future__ import annotations

import tomllib

import pytest

from dist_tool.config.lines import Path, locate

# The number that a value holds is the line that it stands on.
DOCUMENTS = {
    "comments and blank lines": '# one\n\na = 3 # [b]\n# b = 4\n\n[t] # six\nb = 7\n"#" = 8\n',
    "windows line ends": "a = 1\r\n\r\n[t]\r\nb = 4\r\n",
    "no line end at the end": "\n\na = 3",
    "multi-line strings": (
        's = """\na = 99\n[x]\n\\"""\n# no comment\n"""\na = 7\n'
        "l = '''\n\\\nb = 99\n'''\nb = 12\n"
        'q = """a""b"""""\nc = 14\n'
    ),
    "strings that look like more": 'a = "1 # = [ ] { } \\" \\\\"\nb = \'\\\'\nc = 3\nd = ""\ne = \'\'\nf = 6\n',
    "lists over several lines": "a = [ # one\n  2, # two\n\n  4,\n  [5, [\n 6]],\n]\nb = 8\n",
    "inline tables": 'a = { b = 1, "c" = 1, d.e = 1, f = [\n  2, { g = 2 },\n  3], h = {} }\nb = 4\n',
    "dotted and quoted keys": 'a.b = 1\na.\'c d\'."e\\u0066" = 2\n["x.y" . z]\nb = 4\n3 = 5\n',
    "arrays of tables": (
        "[[r]]\nb = 2\n\n[[r]]\nb = 5\n[r.t]\nc = 7\n[[r.m]]\nd = 9\n[[r.m]]\nd = 11\n[r.m.n]\ne = 13\n[[r]]\nb = 15\n"
    ),
    "scalars of every sort": (
        "a = 1\nb = 1979-05-27 07:32:00\nc = true\nd = 1e3\ne = [1979-05-27T07:32:00Z, -inf, 0x1F]\nf = 6\n"
    ),
}


def numbers(value: object, path: Path = ()) -> list[tuple[Path, int]]:
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in numbers(inner, (*path, key))]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in numbers(inner, (*path, index))]
    return [(path, value)] if type(value) is int and value < 31 else []


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_each_key_is_located_on_its_line(text: str) -> None:
    expected = numbers(tomllib.loads(text))
    assert expected
    lines = locate(text)
    assert {path: lines.get(path) for path, _ in expected} == dict(expected)


def test_tables_are_located_on_the_line_of_their_header() -> None:
    lines = locate("\n[a.b]\n\n[[r]]\n[r.t]\n[[r]]\nx.y = 1\n[c]\n")
    assert lines == {
        ("a",): 2,
        ("a", "b"): 2,
        ("r",): 4,
        ("r", 0): 4,
        ("r", 0, "t"): 5,
        ("r", 1): 6,
        ("r", 1, "x"): 7,
        ("r", 1, "x", "y"): 7,
        ("c",): 8,
    }


@pytest.mark.parametrize("rest", ["b 1", "b = ", "b = [1", 'b = "', "[c", '"\\q" = 1', "= 1", "b = {c", "b = }"])
def test_an_incomplete_document_has_lines_up_to_its_end(rest: str) -> None:
    lines = locate(f"a = 1\n{rest}")
    assert lines.pop(("a",)) == 1
    assert set(lines.values()) <= {2}
