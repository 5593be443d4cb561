"""Configuration files that nobody thought of."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from support.bad_config import BAD_CONFIGS, BadConfig

from dist_tool.config.document import parse_document
from dist_tool.config.lines import Path as KeyPath
from dist_tool.config.lines import locate
from dist_tool.config.quantity import LONGEST_S
from dist_tool.config.tables import DOCUMENT, FETCH, REMOTE, Contents
from dist_tool.errors import InvalidArgument

ENVIRON = {"TOKEN": "s3cret", "HOME": "/nonexistent"}

# --- Files from a small grammar, good and bad alike.

_WORDS = st.one_of(
    st.sampled_from(
        ["", "10s", "8MiB", "registry", "layout", "none", "ecr-login", "http://a.example:1", "ca.pem", "."]
    ),
    st.sampled_from(["docker.io", "*.a.example", "a.example:5000/x", "a.example/x", "*", "::1", "/", "~/x", "a" * 300]),
    st.sampled_from(["${TOKEN}", "${TOKEN", "${NONE}", "x\ty", "ü"]),
)
_SCALARS = st.one_of(
    st.booleans().map(lambda value: str(value).lower()),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["inf", "nan", "-0.0", "1e400", "1979-05-27", "07:32:00", "0x10"]),
    _WORDS.map(lambda word: "'" + word + "'"),
)
_KEYS = st.sampled_from(
    [*REMOTE.keys, *FETCH.keys, *(n for n in REMOTE.names() if "." in n), "x-a", "mirror", '"a b"', "a.b.c"]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
        st.dictionaries(_KEYS, inner, max_size=3).map(
            lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs.items()) + " }"
        ),
    ),
    max_leaves=6,
)
_HEADERS = st.sampled_from(
    [
        *(
            "[[remote]]\nprefix = 'a.example'",
            "[[remote]]",
            "[[remote.mirror]]",
            "[[remote.mirror]]\nlocation = 'm.a/x'",
        ),
        *("[fetch]", "[remote.tls]", "[remote.header]", "[pin]", "[policy]", "[store]"),
    ]
)
_STATEMENTS = st.one_of(_HEADERS, st.tuples(_KEYS, _VALUES).map(" = ".join))
_FILES = st.lists(_STATEMENTS, max_size=8).map("\n".join)


def outcome(data: bytes) -> Contents | InvalidArgument:
    """What a file says, or the error that says what is wrong with it. Anything else is a bug."""
    try:
        contents: Contents = DOCUMENT(parse_document("f.toml", data, ENVIRON))
    except InvalidArgument as error:
        return error
    return contents


@given(_FILES)
def test_any_file_is_settings_or_an_invalid_argument(text: str) -> None:
    found = outcome(text.encode())
    if isinstance(found, InvalidArgument):
        assert str(found).startswith("f.toml:")
        assert "s3cret" not in str(found)
    else:
        assert all(remote.prefix and remote.where.startswith("f.toml:") for remote in found.routes)
        assert 0 <= (found.fetch.timeout_s or 0) <= LONGEST_S


@given(st.sampled_from([*REMOTE.keys, *(name for name in REMOTE.names() if "." in name)]), _VALUES)
def test_any_value_of_any_key_is_taken_or_refused_on_its_line(key: str, value: str) -> None:
    head = "[[remote]]\n" + ("" if key == "prefix" else "prefix = 'a.example'\n") + "\n# a comment\n"
    found = outcome(f"{head}{key} = {value}\n".encode())
    if isinstance(found, InvalidArgument):
        line = head.count("\n") + 1
        assert str(found).startswith((f"f.toml:{line}: ", "f.toml:1: a [[remote]] of kind "))
    else:
        assert len(found.routes) == 1


@given(st.sampled_from(BAD_CONFIGS), st.binary(max_size=60), st.data())
def test_bytes_spliced_into_a_file_are_settings_or_an_invalid_argument(
    case: BadConfig, noise: bytes, data: st.DataObject
) -> None:
    text = case.toml.encode()[:2000]
    at = data.draw(st.integers(0, len(text)))
    found = outcome(text[:at] + noise + text[at:])
    assert isinstance(found, Contents) or str(found).startswith("f.toml:")


# --- Lines: every `@` becomes the number of the line that it is on.

_GAP = st.sampled_from(["", " ", "\t", "\n", '# [a] = \'b\' """\n', "\r\n  "])
_STRINGS = st.sampled_from(
    ["''", '""', "'# ]'", '"\\"}"', "'''\n'a = 1\n[b]'''", '"""\n\\"""\n""x"""""', "1979-05-27 07:32:00", "true"]
)


@st.composite
def _documents(draw: st.DrawFn) -> str:
    names = (f"k{number}" for number in range(10_000))
    arrays: list[str] = []

    def key() -> str:
        name = next(names)
        return draw(st.sampled_from([name, f"'{name}'", f'"{name}"', f'"\\u006b{name[1:]}"', f"{name} . x"]))

    def value(depth: int) -> str:
        shape = draw(st.sampled_from(["number", "string", "list", "table"] if depth else ["number", "string"]))
        if shape == "number":
            return "@"
        if shape == "string":
            return draw(_STRINGS)
        count = draw(st.integers(0, 3))
        if shape == "list":
            gaps = [(draw(_GAP), draw(_GAP)) for _ in range(count)]
            return "[" + ",".join(f"{before}{value(depth - 1)}{after}" for before, after in gaps) + draw(_GAP) + "]"
        return "{" + ", ".join(f"{key()} = {value(depth - 1)}" for _ in range(count)) + "}"

    def header() -> str:
        shape = draw(st.sampled_from(["table", "array", "again", "within"]))
        if shape in ("again", "within") and arrays:
            array = draw(st.sampled_from(arrays))
            return f"[[{array}]]" if shape == "again" else f"[ {array} . {key()} ]"
        if shape == "table":
            return f"[{key()}]"
        arrays.append(next(names))
        return f"[[{arrays[-1]}]]"

    lines = []
    for _ in range(draw(st.integers(0, 8))):
        lines.append(header() if draw(st.booleans()) else f"{key()} = {value(3)}")
        lines.append(draw(st.sampled_from(["", "", "\n", " # comment", "\n  # [x]\n"])) + "\n")
    text = "".join(lines)
    for number, line in enumerate(text.split("\n"), 1):
        text = text.replace("@", f"{number}", line.count("@"))
    return text


def _numbers(value: object, path: KeyPath = ()) -> list[tuple[KeyPath, int | None]]:
    """Every path of a document, with the number that stands there."""
    here: list[tuple[KeyPath, int | None]] = [(path, value if type(value) is int else None)] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return here + [found for key, child in inner for found in _numbers(child, (*path, key))]


@given(_documents())
def test_every_key_is_located_and_on_its_line(text: str) -> None:
    lines = locate(text)
    expected = _numbers(tomllib.loads(text))
    assert set(lines) == {path for path, _ in expected}
    assert {path: lines[path] for path, number in expected if number is not None} == {
        path: number for path, number in expected if number is not None
    }
