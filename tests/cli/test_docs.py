"""The documentation is true: options, exit codes, examples, links. What it shows is run."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from support import fetching
from support.content import blob, image, write_layout
from support.invoked import Invoke
from support.processes import ROOT
from support.programs import install
from support.repositories import fetch, fetch_to

from dist_tool import errors
from dist_tool.api import Remote
from dist_tool.cli import COMMANDS, dist
from dist_tool.context import Context
from dist_tool.errors import DistError, NotFound
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.platform import Platform
from dist_tool.remotes import table
from dist_tool.remotes.function import FunctionRemote
from dist_tool.settings import Settings

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand under its full name."""
    context = click.Context(dist, info_name="dist")
    waiting: list[tuple[str, click.Command | None]] = [(name, dist.get_command(context, name)) for name in COMMANDS]
    while waiting:
        name, command = waiting.pop(0)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            waiting += [(f"{name} {sub}", command.get_command(context, sub)) for sub in command.list_commands(context)]


ALL = dict(commands())


def options_of(command: click.Command) -> set[str]:
    words = {"-h", "--help"}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            words |= {*parameter.opts, *parameter.secondary_opts}
    return words


# Commands.


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_in_the_commands_page(name: str) -> None:
    text = page(name.split()[0])
    assert f"dist {name}" in text
    missing = [word for word in options_of(ALL[name]) if not re.search(rf"(?<![\w-]){word}(?![\w-])", text)]
    assert missing == []


@pytest.mark.parametrize("name", ALL)
def test_every_option_in_a_commands_page_is_one(name: str) -> None:
    """Of the page's table of options."""
    head = name.split()[0]
    known = {word for other, command in ALL.items() if other.split()[0] == head for word in options_of(command)}
    rows = [line.split("|")[1] for line in page(head).splitlines() if line.startswith("| `-")]
    assert rows
    assert {word for row in rows for word in re.findall(r"(?<![\w-])--?[a-zA-Z0-9][a-z-]*", row)} <= known


@pytest.mark.parametrize("name", ALL)
def test_every_help_has_an_example_and_says_what_each_option_does(name: str, invoke: Invoke) -> None:
    result = invoke(*name.split(), "--help")
    assert (result.code, result.stderr) == (0, "")
    text = result.stdout.decode()
    assert f"Usage: dist {name}" in text
    assert "Example:" in text
    assert f"dist {name.split()[0]}" in " ".join(text.partition("Example:")[2].split())
    assert [p.name for p in ALL[name].params if isinstance(p, click.Option) and not p.help] == []


def test_dists_own_help_lists_every_command_with_its_summary(invoke: Invoke) -> None:
    text = invoke("--help").stdout.decode()
    assert "Example:" in text
    for name, info in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(info.summary)}$", text, re.MULTILINE)


def test_the_readme_lists_every_command_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`dist ([a-z]+)`\]\(docs/([a-z]+)\.md\) \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == [target for _, target in rows]
    assert {name for name, _ in rows} == set(COMMANDS)


def _shown() -> Iterator[tuple[str, list[str]]]:
    """Each `dist COMMAND WORDS` in an example, where it ends at whatever a shell would end it."""
    for path in PAGES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("    ") or line.lstrip().startswith(("dist: ", "#")):
                continue
            for found in re.findall(r"(?<![\w/.-])dist ((?!:)[a-z]+[^|;&)`]*)", line):
                yield f"{path.name}: dist {found.strip()}", shlex.split(found.replace("'", "").replace('"', ""))


SHOWN = dict(_shown())


@pytest.mark.parametrize("words", SHOWN.values(), ids=SHOWN)
def test_every_command_line_that_is_shown_could_be_typed(words: list[str]) -> None:
    name = " ".join(words[:2]) if " ".join(words[:2]) in ALL else words[0]
    assert name in ALL
    long = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
    assert long <= options_of(ALL[name])


def test_examples_were_found() -> None:
    """A pattern that matches no example would pass the test above."""
    assert {"cat", "content", "export", "fetch", "login", "resolve", "serve", "unpack"} <= {
        words[0] for words in SHOWN.values()
    }


# Exit codes.


def _classes() -> list[type[DistError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, DistError)]
    assert len(found) > 15
    return found


def test_every_exit_code_is_explained() -> None:
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", page("exit-codes"), re.MULTILINE)}
    assert explained | {130} == {0, 130, *(error.exit_code for error in _classes())}  # 130 is in a row of signals
    for code in ("129", "130", "141", "143", "255"):
        assert code in page("exit-codes")


def test_every_key_of_an_error_in_json_is_explained(invoke: Invoke) -> None:
    keys = json.loads(invoke("fetch", "./missing", "x", "--error-format=json").stderr)
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", page("exit-codes"), re.MULTILINE)
    assert re.findall(r"[a-z_]+", " ".join(rows)) == list(keys)


# Links.


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_something(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)", text)
    missing = [target for target, _ in targets if target and not (path.parent / target).exists()]
    assert missing == []
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert {anchor[1:] for target, anchor in targets if anchor and not target} <= headings


# Python.


def test_the_examples_of_python_md_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    v1 = image("python", platform=Platform("linux", "amd64"))
    write_layout(tmp_path / "layout", {"v1": v1})
    monkeypatch.chdir(tmp_path)
    examples = blocks("python", "python")
    assert len(examples) == page("python").count("```python")
    names: dict[str, Any] = {}
    for number, example in enumerate(examples):
        exec(compile(example, f"docs/python.md, example {number + 1}", "exec"), names)
    assert (tmp_path / "layer").read_bytes() == v1.layers[0].data
    shown = capsys.readouterr().out
    assert f"\n{v1.manifest.digest} {len(v1.manifest.data)} {v1.manifest.media_type}\n" in shown
    assert "['v1'] True" in shown
    assert "3 ./layout: no image is named 'no-such-name'" in shown
    assert f"\n{v1.manifest.digest} {len(v1.manifest.data)}\n" in shown
    assert (tmp_path / "rootfs" / "etc").is_dir()


def test_the_examples_of_python_md_pass_mypy_in_strict_mode(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "examples.py"
    script.write_text("\n".join(blocks("python", "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(script)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


# Writing a remote.

CONTENT = blob("shelf", 5000)


def test_the_smallest_remote_works_and_is_told_from_an_opener(monkeypatch: pytest.MonkeyPatch) -> None:
    source = blocks("writing-a-remote", "python")[0]
    names: dict[str, Any] = {}
    exec(source, names)
    asked: list[str] = []

    def urlopen(url: str) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(CONTENT.data)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    remote = table._opener(names["fetch"])(Locator("gateway", "any"), Context())
    assert isinstance(remote, FunctionRemote)
    out = bytearray()
    fetch_to(remote, str(CONTENT.digest), out.extend)
    assert bytes(out) == CONTENT.data
    assert asked == [f"https://gateway.example/{CONTENT.digest.algorithm}/{CONTENT.digest.encoded}"]


def test_the_entry_point_is_of_the_group_that_is_looked_for() -> None:
    import tomllib

    (text,) = blocks("writing-a-remote", "toml")
    assert tomllib.loads(text)["project"]["entry-points"] == {table.ENTRY_POINTS: {"gateway": "gateway:fetch"}}


@pytest.fixture
def shelf(tmp_path: Path) -> Remote:
    """The whole remote of the page, over a directory with content and a tag."""
    source = blocks("writing-a-remote", "python")[1]
    names: dict[str, Any] = {}
    exec(source, names)
    for content in (CONTENT, blob("empty", 0), blob("long", 3000, "sha512")):
        (tmp_path / f"{content.digest.algorithm}-{content.digest.encoded}").write_bytes(content.data)
    (tmp_path / "tag-v1").write_text(f"{CONTENT.digest}\n")
    opener = table._opener(names["Shelf"])
    remote = opener(Locator("shelf", str(tmp_path)), Context())
    assert isinstance(remote, Remote)
    return remote


@pytest.mark.parametrize("content", [CONTENT, blob("empty", 0), blob("long", 3000, "sha512")])
def test_the_whole_remote_keeps_the_promises_of_one(shelf: Remote, content: Any) -> None:
    out = bytearray()
    fetch_to(shelf, str(content.digest), out.extend, Hints(("wrong/type",), None, "index", (("x", "y"),)))
    assert bytes(out) == content.data
    size = len(content.data)
    for offset in (0, size // 2, size, size + 1):
        body = shelf.open(content.descriptor, offset)
        view = memoryview(bytearray(size + 1))
        assert bytes(view[: body.readinto(view)]) == content.data[offset:]
        body.close()


def test_the_whole_remote_knows_tags_and_what_it_has_not(shelf: Remote) -> None:
    desc, file = fetch(shelf, "v1")
    with file:
        assert (desc.digest, file.read()) == (CONTENT.digest, CONTENT.data)
    for object_id in ("v2", str(Digest.of(b"absent"))):
        with pytest.raises(NotFound):
            fetch(shelf, object_id)
    with pytest.raises(NotFound):
        shelf.open(Descriptor(Digest.of(b"absent")))


# The program of the page.


@pytest.fixture
def helper(tmp_path: Path) -> dict[str, str]:
    """The documented helper, word by word, and a way to "another machine" that is this one."""
    (source,) = blocks("writing-a-remote", "sh")
    assert len(source.splitlines()) <= 40
    environ = install(tmp_path / "bin", "shelf", source.partition("\n")[2], interpreter="/bin/sh")
    way = tmp_path / "bin" / "way"
    way.write_text('#!/bin/sh\n[ "$1" = there ] || exit 255\necho "$2" >> "$LOG"\nexec sh -c "$2"\n')
    way.chmod(0o755)
    for content in (CONTENT, blob("empty", 0), blob("long", 3000, "sha512")):
        file = tmp_path / "some blobs" / content.digest.algorithm / content.digest.encoded
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.data)
    return {**environ, "RSH": "way", "LOG": str(tmp_path / "log")}


def _from_shelf(helper: dict[str, str], tmp_path: Path, object_id: object, host: str = "there") -> fetching.Outcome:
    return fetching.fetch(
        f"shelf::{host}:{tmp_path}/some blobs", object_id, settings=Settings(environ=helper), attempts=2
    )


@pytest.mark.parametrize("content", [CONTENT, blob("empty", 0), blob("long", 3000, "sha512")])
def test_the_documented_program_serves_a_digest(helper: dict[str, str], tmp_path: Path, content: Any) -> None:
    outcome = _from_shelf(helper, tmp_path, content.digest)
    assert (outcome.data, outcome.error) == (content.data, None)


@pytest.mark.parametrize(
    ("object_id", "host", "code"),
    [(blob("absent", 1).digest, "there", 3), ("latest", "there", 3), (CONTENT.digest, "nowhere", 6)],
)
def test_the_documented_program_says_what_is_wrong(
    helper: dict[str, str], tmp_path: Path, object_id: object, host: str, code: int
) -> None:
    assert _from_shelf(helper, tmp_path, object_id, host).code == code


def test_the_documented_program_begins_where_it_is_asked_to(helper: dict[str, str], tmp_path: Path) -> None:
    locator = Locator("shelf", f"there:{tmp_path}/some blobs")
    remote: Any = table.open_remote(locator, Settings(environ=helper))
    for offset in (0, 1, 4999, 5000, 6000):
        body = remote.open(CONTENT.descriptor, offset)
        assert (body.offset, body.total) == (min(offset, 5000), 5000)
        out, view = bytearray(), memoryview(bytearray(1 << 16))
        while got := body.readinto(view):
            out += view[:got]
        assert bytes(out) == CONTENT.data[offset:]
        body.close()
    remote.close()


def test_the_documented_program_goes_on_after_a_cut(helper: dict[str, str], tmp_path: Path) -> None:
    way = tmp_path / "bin" / "way"
    cut = 'case "$2" in "tail -c +1 "*) sh -c "$2" | head -c 1000; exit 255 ;; esac\nexec sh'
    way.write_text(way.read_text().replace("exec sh", cut))
    outcome = _from_shelf(helper, tmp_path, CONTENT.digest)
    assert (outcome.data, outcome.error) == (CONTENT.data, None)
    assert "tail -c +1001" in (tmp_path / "log").read_text()
