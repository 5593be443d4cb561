"""Everything that can be typed wrong: its exit code, one line that says what to do, nothing on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from support.bad_config import BAD_CONFIGS
from support.content import image, write_layout
from support.invoked import Invoke
from support.processes import Result, run_dist

from dist_tool.oci.digest import Digest

SHA256 = str(Digest.of(b""))
HEX = SHA256.partition(":")[2]
NAME = "registry.invalid/team/app"  # a name that does not resolve: whoever asked would get exit code 6


class Bad(NamedTuple):
    """Words that must end with `code` and a message that holds `said`."""

    name: str
    args: tuple[str, ...]
    code: int
    said: str


def _locator(name: str, locator: str, said: str, code: int = 2) -> Bad:
    return Bad(f"locator {name}", ("fetch", locator, "v1"), code, said)


def _object(name: str, object_id: str, said: str, code: int = 2) -> Bad:
    return Bad(f"object {name}", ("fetch", NAME, "--", object_id), code, said)


def _hint(name: str, *hints: str, said: str, code: int = 2) -> Bad:
    return Bad(f"hint {name}", ("fetch", NAME, "v1", "--", *hints), code, said)


def _option(name: str, *words: str, said: str, code: int = 2) -> Bad:
    return Bad(f"option {name}", ("fetch", "./img", "v1", *words), code, said)


def _reference(name: str, *words: str, said: str, code: int = 2) -> Bad:
    return Bad(f"reference {name}", ("resolve", *words), code, said)


LOCATORS = [
    _locator("empty", "", "the locator is empty"),
    _locator("with a scheme", "docker://docker.io/library/redis", "no scheme: write docker.io/library/redis"),
    _locator("with https", "https://files.example/x", "no scheme: write http::files.example/x"),
    _locator("with an unknown scheme", "ftp://files.example/x", "write KIND::files.example/x, or the name without"),
    _locator("in skopeo's spelling", "oci:./img", "write layout::./img"),
    _locator(
        "with a tag", "docker.io/library/redis:7", "a locator must not have a tag or digest: give the object as the"
    ),
    _locator("with a short tag", "redis:7", "a locator must not have a tag: give the object as the next argument"),
    _locator("with a digest", f"redis/x@{SHA256}", "a locator must not have a tag or digest"),
    _locator("in upper case", "docker.io/Library/redis", "must be lower case: did you mean 'library/redis'?"),
    _locator("with a double slash", "registry.invalid//x", "a component of the path is empty"),
    _locator("with a slash at the end", "registry.invalid/x/", "a component of the path is empty"),
    _locator("that traverses", "registry.invalid/a/../b", "'a/../b' is not a repository"),
    _locator("with a port out of range", "registry.invalid:65536/x", "port 65536 is not between 1 and 65535"),
    _locator("with a port that is none", "registry.invalid:http/x", "'registry.invalid:http' is not a host"),
    _locator("with a digit of another script", "registry.invalid:٣/x", "is not a host"),
    _locator("with a bare IPv6 address", "::1/x", "'::1' is not a host: IPv6 addresses go in brackets"),
    _locator("with half a bracket", "[::1/x", "is not a host"),
    _locator("with no IPv6 address", "[:::]/x", "is not an IPv6 address"),
    _locator("with a mapped address", "[::ffff:7f00:1]/x", "is not an IPv6 address"),
    _locator("with a space", "registry.invalid/a b", "'a b' is not a repository"),
    _locator("with an umlaut", "registry.invalid/münchen", "is not a repository"),
    _locator("with a newline", "registry.invalid/x\n", r"'registry.invalid/x\n' has control characters"),
    _locator("with an escape sequence", "registry.invalid/\x1b[31m", r"\x1b[31m' has control characters"),
    _locator("that is no text", "./caf\udce9", r"the locator './caf\udce9' is not UTF-8"),
    _locator("of 256 characters", f"registry.invalid/{'x' * 256}", "256 characters, the limit is 255"),
    _locator("of 5000 characters", f"registry.invalid/{'x' * 5000}", "has 5017 characters, the limit is 4096"),
    _locator("of 64 hexadecimal digits", f"registry.invalid/{HEX}", "64 hexadecimal digits cannot be a repository"),
    _locator("without a host", "/team/app", "dist: /team/app: no such file or directory", 3),
    _locator("of a kind and nothing", "layout::", "nothing follows layout::"),
    _locator("of an unknown kind", "nosuch::x", "there is no remote of kind 'nosuch': built in: registry, layout", 8),
    _locator("of no directory", "./missing", "dist: ./missing: no such file or directory", 3),
    _locator("of no directory, by kind", "layout::./missing", "./missing: no such directory", 3),
    _locator("of a directory that is no layout", ".", ". is not an image layout: there is no oci-layout in it"),
    _locator("of a file that is no archive", "./file", "./file: the archive ends in the middle of a header", 5),
    _locator("of a broken layout", "./broken", "not valid JSON", 5),
    _locator("that is an option", "-x", "No such option"),
]
OBJECTS = [
    Bad("object missing", ("fetch", NAME), 2, "OBJECT is missing: give a tag or a digest"),
    _object("empty", "", "the object is empty"),
    _object("with a space", "a b", "'a b' is not a tag: use 1 to 128 of A-Z a-z 0-9 _ . -"),
    _object("with a newline", "latest\n", r"'latest\n' has control characters"),
    _object("with an umlaut", "ü", "'ü' is not a tag"),
    _object("that begins with a dot", ".hidden", "'.hidden' is not a tag"),
    _object("that begins with a dash", "-x", "'-x' is not a tag"),
    _object("that traverses", "../../v2", "'../../v2' is not a tag"),
    _object("of 129 characters", "x" * 129, "is not a tag"),
    _object("of bare hexadecimal digits", HEX, f"is not a digest: did you mean sha256:{HEX}?"),
    _object("of a digest cut short", SHA256[:-1], "is not a sha256 digest: expected 64 lower-case hexadecimal digits"),
    _object("of a digest in upper case", f"sha256:{HEX.upper()}", "is not a sha256 digest"),
    _object("of a digest of another length", f"sha512:{HEX}", "expected 128 lower-case hexadecimal digits, got 64"),
    _object("of a digest that traverses", "sha256:../../etc/passwd", "is not a digest: expected ALGORITHM:ENCODED"),
    _object("of a tag and no digest", "v1@", "'' is not a digest"),
    _object("of two digests", f"{SHA256}@{SHA256}", "is not a tag"),
    _object("of a short digest beside a tag", "v1@sha256:0", "is not a sha256 digest"),
    _object("of an algorithm that cannot be verified", f"blake3:{HEX}", "'blake3' cannot be verified here", 8),
    _object("of an algorithm that nobody knows", "x-y:abc", "'x-y' cannot be verified here: supported: sha256", 8),
    Bad("object that a layout has not", ("fetch", "./img", "v2"), 3, "no image is named 'v2' in ./img: there are: v1"),
    Bad("object that a layout has not, by digest", ("fetch", "./img", SHA256), 3, f"{SHA256}: no such blob in ./img"),
    Bad("object cut short, of a layout", ("fetch", "./img", SHA256[:-1]), 2, "is not a sha256 digest"),
]
HINTS = [
    _hint("without a colon", "latest", said="'latest' is not a hint: expected TYPE:CONTENT, as in size:1234"),
    _hint("that is a second tag", "latest", said="further objects as lines of --stdin, or use xargs -n1"),
    _hint("that is a second digest", SHA256, said=f"'{SHA256}' is a second object, not a hint: give one OBJECT"),
    _hint("that is a digest in upper case", SHA256.upper(), said="is a second object, not a hint"),
    _hint("without a type", ":x", said="':x' is not a hint"),
    _hint("without content", "size:", said="'size:' is not a hint"),
    _hint("that is empty", "", said="the hint is empty"),
    _hint("of a size in words", "size:many", said="hint size: 'many' is not a number of bytes"),
    _hint("of a negative size", "size:-1", said="'-1' is not a number of bytes"),
    _hint("of a size with an underscore", "size:1_0", said="'1_0' is not a number of bytes"),
    _hint("of a size in another script", "size:٣", said="is not a number of bytes"),
    _hint("of a size with a unit", "size:4KiB", said="'4KiB' is not a number of bytes"),
    _hint("of a size beyond 63 bits", f"size:{2**63}", said="is not a number of bytes"),
    _hint("of two sizes", "size:1", "size:2", said="two sizes are given, 1 and 2"),
    _hint("of an unknown type", "type:tarball", said="type:tarball is not known: one of manifest, index, config"),
    _hint("of no media type", "mediatype:json", said="'json' is not a media type"),
    _hint("of a media type with parameters", "mediatype:a/b; c=d", said="is not a media type"),
    _hint("of a header", "mediatype:a/b\r\nX-Evil: 1", said=r"\r\nX-Evil: 1' has control characters"),
    Bad("hint of another size", ("fetch", "./img", "v1", "size:7"), 5, "bytes, but the hint is size:7"),
]
OPTIONS = [
    _option("unknown", "--nosuch", said="No such option '--nosuch'"),
    _option("without its value", "--timeout", said="Option '--timeout' requires an argument"),
    _option("verify", "--verify", "never", said="'never' is not one of 'stream', 'before'"),
    _option("max size with a strange unit", "--max-size", "4M", said="--max-size: '4M' is not a size"),
    _option("max size, negative", "--max-size=-1", said="--max-size: "),
    _option("max size that is too small", "--max-size", "10", said="limit of 10 bytes", code=5),
    _option("timeout in words", "--timeout", "soon", said="--timeout: 'soon' is not a duration"),
    _option("timeout, negative", "--timeout=-1", said="--timeout: "),
    _option("error format", "--error-format", "xml", said="'xml' is not one of 'text', 'json'"),
    _option("progress", "--progress", "loud", said="'loud' is not one of"),
    _option("config that is missing", "--config", "missing.toml", said="missing.toml: No such file or directory"),
    _option("config that is a directory", "--config", ".", said="Is a directory"),
    _option("output without a name", "-o", "", said="the path is empty"),
    _option("output in no directory", "-o", "no/such/dir", said="no/such/dir: No such file or directory", code=9),
    _option("output that is a directory", "-o", ".", said="Is a directory", code=9),
    _option("stdin beside an object", "--stdin", said="--stdin reads objects and hints from standard input"),
    _option("jobs, none", "--jobs", "0", said="0 is not in the range 1<=x<=64"),
    _option("jobs in words", "-jx", said="'x' is not a valid int"),
    _option("NUL without stdin", "-0", said="-0, --frame and --into need --stdin"),
    _option("frame without stdin", "--frame", said="-0, --frame and --into need --stdin"),
    _option("into without stdin", "--into", "dir", said="-0, --frame and --into need --stdin"),
]
COMMANDS = [
    Bad("no command", (), 2, "Missing command: see dist --help"),
    Bad("no command of content", ("content",), 2, "Missing command: see dist content --help"),
    Bad("no command of auth", ("auth",), 2, "Missing command: see dist auth --help"),
    Bad("no value", ("fetch", "./img", "v1", "-o"), 2, "'-o' requires an argument: see dist fetch --help"),
    Bad(
        "no value, deeper", ("content", "ls", "--root"), 2, "'--root' requires an argument: see dist content ls --help"
    ),
    Bad("unknown command", ("ftech",), 2, "No such command 'ftech'. Did you mean 'fetch'?: see dist --help"),
    Bad("command that resembles none", ("\x1b[31m",), 2, r"No such command '\x1b[31m'"),
    Bad(
        "option before the command",
        ("--quiet", "fetch"),
        2,
        "'--quiet': options go after the command, as in dist fetch",
    ),
    Bad("store that is not there", ("content", "ls", "--root", "missing"), 3, "missing: no such store"),
    Bad("store that is not there, to be swept", ("content", "gc", "--root", "missing"), 3, "missing: no such store"),
    Bad("nothing to fetch", ("fetch",), 2, "Missing argument 'LOCATOR': see dist fetch --help"),
    Bad("nothing to resolve", ("resolve",), 2, "Missing argument 'REFERENCE': see dist resolve --help"),
    Bad("too much for remotes", ("remotes", "x"), 2, "Got unexpected extra argument (x): see dist remotes --help"),
    _reference("too many", "a", "b", said="Got unexpected extra argument (b)"),
    _reference("empty", "", said="the reference is empty"),
    _reference("with a scheme", "docker://redis:7", said="no scheme: write redis:7"),
    _reference("with a bad tag", "redis:a b", said="'a b' is not a tag"),
    _reference("with a bad digest", "redis@sha256:0", said="is not a sha256 digest"),
    _reference("of a layout with an empty name", "./img:", said="nothing follows the ':'"),
    _reference("of a layout without that name", "./img:v2", said="no image is named 'v2'", code=3),
    _reference("with a platform that is a pattern", "./img:v1", "--platform", "*/amd64", said="is not a platform"),
    _reference("with an empty platform component", "./img:v1", "--platform", "linux/", said="is not a platform"),
    _reference("of another platform", "./img:v1", "--platform", "linux/s390x", said="available: linux/amd64", code=3),
]
ALL = [*LOCATORS, *OBJECTS, *HINTS, *OPTIONS, *COMMANDS]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a layout `img`, a broken one and a file."""
    directory = tmp_path / "here"
    directory.mkdir()
    write_layout(directory / "img", {"v1": image("bad input")})
    write_layout(directory / "broken")
    (directory / "broken" / "index.json").write_text("{")
    (directory / "file").write_text("x")
    monkeypatch.chdir(directory)
    return directory


def check(result: Result, code: int, said: str) -> None:
    assert (result.code, result.stdout) == (code, b""), result.stderr
    assert said in result.stderr
    assert result.stderr.startswith("dist: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    assert result.stderr.rstrip("\n").isprintable()
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("bad", ALL, ids=[bad.name for bad in ALL])
def test_what_is_typed_wrong_is_one_line_and_its_exit_code(bad: Bad, invoke: Invoke) -> None:
    check(invoke(*bad.args), bad.code, bad.said)


def test_nothing_was_written_where_the_output_could_not_be(invoke: Invoke, here: Path) -> None:
    for words in (["-o", "out", "size:7"], ["-o", "no/such/dir"], ["-o", "out", "--max-size", "3"]):
        invoke("fetch", "./img", "v1", *words)
    assert sorted(path.name for path in here.iterdir()) == ["broken", "file", "img"]


# One of each shape: with a line and without, of one key, of a whole table, with a hint, with an escape sequence. The
# reader's own test has all cases.
SHOWN_CONFIGS = [
    "unclosed-string",
    "nested-too-deeply",
    "unknown-table",
    "unknown-key-that-is-an-escape-sequence",
    "ca-of-numbers",
    "remote-as-a-table",
]


@pytest.mark.parametrize("name", SHOWN_CONFIGS)
def test_a_broken_configuration_names_file_and_line(name: str, invoke: Invoke, here: Path) -> None:
    (case,) = (case for case in BAD_CONFIGS if case.name == name)
    (here / "config.toml").write_bytes(case.toml.encode())
    result = invoke("remotes", "--config", "config.toml")
    check(result, 2, case.expected)
    assert result.stderr.startswith(f"dist: config.toml:{case.line}: " if case.line else "dist: config.toml: ")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DIST_TIMEOUT", "soon", "DIST_TIMEOUT: 'soon' is not a duration"),
        ("CONTAINERD_FETCH_TIMEOUT", "-1", "CONTAINERD_FETCH_TIMEOUT: "),
        ("DIST_NO_TOKEN_CACHE", "perhaps", "DIST_NO_TOKEN_CACHE"),
        ("DIST_CONFIG", "missing.toml", "missing.toml: No such file or directory"),
    ],
)
def test_a_broken_variable_is_named(
    variable: str, value: str, said: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    check(invoke("fetch", "./img", "v1"), 2, said)


@pytest.mark.parametrize("bad", [LOCATORS[1], OBJECTS[0], HINTS[4], OPTIONS[0], COMMANDS[1]], ids=lambda bad: bad.name)
def test_a_process_of_its_own_says_the_same(bad: Bad, invoke: Invoke) -> None:
    assert run_dist(bad.args) == invoke(*bad.args)
