"""`dist content …`: each command, its exit codes, and the pipelines that they are for."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import time

import click
import pytest
from support.content import image as make_image
from support.content import to_json
from support.processes import ROOT, dist_command, dist_environment, run_dist

from dist_tool.cli.content import CONTENT
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_MANIFEST, OCTET_STREAM
from dist_tool.store import open_store
from dist_tool.store.ingest import ref_for

HELLO = str(Digest.of(b"hello"))


@pytest.fixture
def store(isolation):
    return open_store(str(isolation / ".local" / "share" / "dist" / "store"))


@pytest.fixture
def content(capfdbinary, monkeypatch):
    """Run `dist content ARGS` in this process; returns its exit code, stdout and stderr as text."""
    from dist_tool.cli import _run

    def run(*args, stdin=b""):
        reader, writer = os.pipe()
        os.write(writer, stdin)
        os.close(writer)
        saved = os.dup(0)
        os.dup2(reader, 0)
        os.close(reader)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.FileIO(0, closefd=False)))
        try:
            code = _run(["content", *map(str, args)])
        finally:
            os.dup2(saved, 0)
            os.close(saved)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def put(store, data, name=None, media_type=OCTET_STREAM):
    desc = Descriptor(Digest.of(data), len(data), media_type)
    with store.writer(ref_for(desc.digest), desc) as writer:
        writer.write(data)
        writer.commit()
    if name:
        store.tag(name, desc)
    return desc


def put_image(store, name):
    image = make_image("x")
    for blob in image.blobs():
        put(store, blob.data)
    store.tag(name, image.manifest.descriptor)
    return image


def read(store, digest):
    return store.read(Descriptor(Digest.parse(str(digest))), 1 << 30)


def age(store, desc, seconds):
    os.utime(store.path(desc.digest), (time.time() - seconds,) * 2)


# ingest


def test_ingest_prints_the_digest_of_what_it_added(content, store):
    assert content("ingest", "ref", stdin=b"hello") == (0, HELLO + "\n", "")
    assert read(store, HELLO) == b"hello"
    assert list(store.statuses()) == []


def test_ingest_needs_a_ref_or_a_digest(content):
    code, out, err = content("ingest", stdin=b"hello")
    assert (code, out) == (2, "")
    assert "--expected-digest" in err
    assert content("ingest", "--expected-digest", HELLO, stdin=b"hello")[:2] == (0, HELLO + "\n")


def test_ingesting_the_same_twice_is_fine(content):
    for ref in ("a", "b"):
        assert content("ingest", ref, stdin=b"hello")[:2] == (0, HELLO + "\n")


def test_what_is_there_already_is_not_read_again(content, store, monkeypatch):
    put(store, b"hello")
    monkeypatch.setattr(os, "readv", None)
    assert content("ingest", "--expected-digest", HELLO, stdin=b"not even looked at")[:2] == (0, HELLO + "\n")


@pytest.mark.parametrize(
    "args",
    [
        ("ref", "--expected-digest", HELLO),
        ("--expected-digest", HELLO),
        ("ref", "--expected-size", 4),
        ("ref", "--expected-size", 6),
        ("ref", "--expected-size", 0),
    ],
)
def test_other_content_than_expected_is_refused(content, store, args):
    code, out, err = content("ingest", *args, stdin=b"HELLO")
    assert (code, out) == (5, "")
    assert err.startswith("dist: ")
    assert err.count("\n") == 1
    assert list(store.walk()) == []


def test_a_size_that_is_right_is_accepted(content):
    assert content("ingest", "ref", "--expected-size", 5, stdin=b"hello")[0] == 0
    assert content("ingest", "none", "--expected-size", 0, stdin=b"")[0] == 0


def test_an_ingest_can_be_continued_and_committed_later(content, store):
    assert content("ingest", "ref", "--append", stdin=b"he") == (0, "", "")
    assert content("ingest", "ref", "--append", stdin=b"ll") == (0, "", "")
    assert list(store.walk()) == []
    assert content("ingest", "ref", "--append", stdin=b"o")[:2] == (0, "")
    assert content("ingest", "ref", "--commit", "--expected-digest", HELLO) == (0, HELLO + "\n", "")


def test_append_and_commit_together_end_the_write(content):
    content("ingest", "ref", "--append", stdin=b"hel")
    assert content("ingest", "ref", "--append", "--commit", stdin=b"lo")[1] == HELLO + "\n"


def test_a_second_ingest_without_append_begins_anew(content):
    content("ingest", "ref", "--append", "--expected-size", 3, stdin=b"old")
    assert content("ingest", "ref", stdin=b"hello")[1] == HELLO + "\n"


def test_committing_what_was_never_written_is_not_found(content):
    assert content("ingest", "ref", "--commit")[0] == 3


def test_committing_too_little_keeps_it(content):
    content("ingest", "ref", "--append", stdin=b"hel")
    assert content("ingest", "ref", "--commit", "--expected-size", 5)[0] == 5
    assert content("ingest", "ref", "--append", "--commit", "--expected-size", 5, stdin=b"lo")[1] == HELLO + "\n"


def test_an_ingest_may_be_labelled_and_named(content, store):
    manifest = to_json({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []})
    assert content("ingest", "ref", "--label", "a=b", "--name", "n:1", stdin=manifest)[0] == 0
    desc = store.resolve("n:1", Hints())
    assert (desc.media_type, desc.size) == (OCI_MANIFEST, len(manifest))
    assert store.info(desc.digest).labels == {"a": "b"}
    assert content("ingest", "ref", "--name", "n:2", "--media-type", "a/b", stdin=b"x")[0] == 0
    assert store.resolve("n:2", Hints()).media_type == "a/b"


def test_a_busy_ref_is_a_local_failure(content, store):
    with store.writer("ref"):
        code, _, err = content("ingest", "ref", stdin=b"x")
    assert code == 9
    assert "another process is writing" in err


def test_a_bad_label_is_refused_before_anything_is_read(content, store):
    assert content("ingest", "ref", "--label", "nope", stdin=b"hello")[0] == 2
    assert list(store.walk()) == []


def test_a_terminated_ingest_stays_and_can_be_committed(store, isolation):
    process = subprocess.Popen(
        dist_command("content", "ingest", "ref", "--append"), stdin=subprocess.PIPE, env=dist_environment()
    )
    process.stdin.write(b"hello")
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while not any(status.offset for status in store.statuses()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(20) == -15
    process.stdin.close()
    assert run_dist(["content", "ingest", "ref", "--commit"]).stdout.decode() == HELLO + "\n"


# get


def test_get_writes_the_blob(content, store, tmp_path):
    put(store, b"hello", "name")
    assert content("get", HELLO) == (0, "hello", "")
    assert content("get", "name") == (0, "hello", "")
    assert content("get", "name", "-o", tmp_path / "file") == (0, "", "")
    assert (tmp_path / "file").read_bytes() == b"hello"


@pytest.mark.parametrize("offset", [0, 1, 4, 5, 6, 1 << 70])
@pytest.mark.parametrize("size", [None, 0, 1, 4, 5, 100])
def test_get_writes_a_part(content, store, offset, size):
    put(store, b"hello")
    if offset > 1 << 62:
        offset = 1 << 62
    args = () if size is None else ("--size", size)
    assert content("get", HELLO, "--offset", offset, *args)[1] == "hello"[offset:][:size]


def test_a_damaged_blob_is_not_written_not_even_a_part(content, store, tmp_path):
    desc = put(store, b"hello")
    os.chmod(store.path(desc.digest), 0o644)
    with open(store.path(desc.digest), "wb") as file:
        file.write(b"hellO")
    for args in ((), ("--size", 2), ("-o", tmp_path / "file")):
        code, out, err = content("get", HELLO, *args)
        assert (code, out) == (5, "")
        assert HELLO in err
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("word", [HELLO, "name"])
def test_what_is_not_there_is_not_found(content, word):
    for verb in ("get", "path", "label", "edit", "rm"):
        code, out, err = content(verb, word)
        assert (code, out) == (3, "")
        assert word in err


@pytest.mark.parametrize("word", ["sha256:abc", "sha256:" + "A" * 64, "sha512:" + "0" * 64])
def test_a_digest_that_is_none_is_a_usage_error(content, word):
    assert content("get", word)[0] == 2


# ls


def test_ls_shows_digests_types_names_and_labels(content, store):
    image = put_image(store, "docker.io/library/x:1")
    store.label(image.layers[0].digest, {"k": "v"})
    code, out, _ = content("ls")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert "docker.io/library/x:1" in lines[str(image.manifest.digest)]
    assert image.layers[0].media_type in lines[str(image.layers[0].digest)]
    assert "k=v" in lines[str(image.layers[0].digest)]
    assert lines["DIGEST"].split()[1:] == ["SIZE", "USED", "TYPE", "NAMES", "LABELS"]
    records = [json.loads(line) for line in content("ls", "--json")[1].splitlines()]
    assert {record["digest"]: record["type"] for record in records} == {
        str(blob.digest): blob.media_type for blob in image.blobs()
    }
    (named,) = [record for record in records if record["names"]]
    assert (named["names"], named["size"]) == (["docker.io/library/x:1"], len(image.manifest.data))


def test_ls_quiet_prints_digests_only(content, store):
    expected = sorted(str(put(store, data).digest) for data in (b"a", b"b", b"c"))
    assert content("ls", "-q") == (0, "".join(f"{digest}\n" for digest in expected), "")


def test_ls_of_an_empty_store_is_empty(content):
    assert content("ls", "-q") == (0, "", "")
    assert content("ls", "--json") == (0, "", "")
    assert content("ls")[1].count("\n") == 1


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (("--larger", "3"), "long old"),
        (("--larger", "3B", "--smaller", "9"), "old"),
        (("--smaller", "4"), "new"),
        (("--older", "1h"), "old"),
        (("--newer", "1h"), "long new"),
        (("--label", "k"), "new old"),
        (("--label", "k=1"), "new"),
        (("--label", "k", "--label", "x"), "old"),
        (("--label", "k=3"), ""),
        (("--named",), "long"),
        (("--unnamed",), "new old"),
        (("--type", "application/*"), "long new old"),
        (("--type", "layer"), ""),
        (("--type", "other", "--type", "layer"), "long new old"),
    ],
)
def test_ls_chooses(content, store, conditions, expected):
    blobs = {"new": put(store, b"new"), "old": put(store, b"oldd"), "long": put(store, b"long" * 5, "name")}
    store.label(blobs["new"].digest, {"k": "1"})
    store.label(blobs["old"].digest, {"k": "2", "x": "y"})
    age(store, blobs["old"], 7200)
    code, out, err = content("ls", "-q", *conditions)
    assert (code, err) == (0, "")
    assert out.split() == sorted(str(blobs[name].digest) for name in expected.split())


def test_the_example_of_the_page_finds_what_nobody_used_for_a_month(content, store):
    example = "ls -q --unnamed --older 720h"
    assert f"dist content {example} |" in (ROOT / "docs" / "content.md").read_text(encoding="utf-8")
    old, recent = put(store, b"old"), put(store, b"recent")
    age(store, old, 31 * 86_400)
    age(store, recent, 29 * 86_400)
    assert content(*example.split()) == (0, f"{old.digest}\n", "")


def test_gc_spares_what_was_used_within_a_grace_of_a_month(content, store):
    old, recent = put(store, b"old"), put(store, b"recent")
    age(store, old, 31 * 86_400)
    age(store, recent, 29 * 86_400)
    assert content("gc", "--grace", "720h")[:2] == (0, f"{old.digest}\n")


def test_ls_of_given_blobs_goes_on_after_one_that_is_missing(content, store):
    desc = put(store, b"a", "name")
    code, out, err = content("ls", "-q", HELLO, "-", stdin=f"name\n\n{desc.digest}\n".encode())
    assert (code, out) == (3, f"{desc.digest}\n" * 2)
    assert err.count("\n") == 1


@pytest.mark.parametrize("conditions", [("--larger", "much"), ("--older", "long"), ("--older", "-5s")])
def test_a_condition_that_is_none_is_a_usage_error(content, conditions):
    code, _, err = content("ls", *conditions)
    assert code == 2
    assert conditions[0] in err


# path, label, rm


def test_ls_refuses_a_type_that_nothing_can_have(content, store):
    put(store, b"x")
    code, out, err = content("ls", "--type", "layers")
    assert (code, out) == (2, "")
    assert err == (
        "dist: --type: 'layers' is not a media type: expected manifest, index, config, layer, other,"
        " or a media type such as application/*\n"
    )


def test_no_line_of_a_table_ends_in_blanks(content, store):
    put(store, b"labelled", "a name")
    put(store, b"bare")
    content("label", "a name", "a-key-that-is-long=x")
    lines = content("ls")[1].splitlines()
    assert len(lines) == 3
    assert lines == [line.rstrip() for line in lines]


def test_path_prints_files(content, store):
    first, second = put(store, b"a"), put(store, b"b", "name")
    code, out, _ = content("path", first.digest, "-", stdin=b"name\n")
    assert (code, out.splitlines()) == (0, [store.path(first.digest), store.path(second.digest)])


def test_label_sets_clears_and_shows(content, store):
    put(store, b"hello", "name")
    assert content("label", HELLO) == (0, "", "")
    assert content("label", HELLO, "a=1", "b=x=y") == (0, "a=1\nb=x=y\n", "")
    assert content("label", "name", "a=", "c=\x1b[31m")[1] == "b=x=y\nc=\\x1b[31m\n"
    assert content("label", HELLO)[1] == "b=x=y\nc=\\x1b[31m\n"
    assert content("label", HELLO, "nope")[0] == 2
    assert content("label", HELLO, "k=" + "v" * 5000)[0] == 2


def test_rm_prints_what_it_removed_goes_on_and_fails_at_the_end(content, store):
    first, second = put(store, b"a"), put(store, b"b", "name")
    code, out, err = content("rm", first.digest, HELLO, "-", stdin=f"name\n{second.digest}".encode())
    assert (code, out.splitlines()) == (3, [str(first.digest), "name", str(second.digest)])
    assert err == f"dist: {HELLO} is not in the store\n"
    assert list(store.walk()) == []
    assert list(store.tags()) == []


def test_failures_that_differ_are_exit_1(content, store):
    put(store, b"a")
    assert content("rm", HELLO, "sha256:nope")[0] == 1


def test_each_failure_is_one_json_object_where_asked(content):
    _, _, err = content("rm", HELLO, "name", "--error-format", "json")
    assert [json.loads(line)["object"] for line in err.splitlines()] == [HELLO, "name"]


# active, abort


def test_active_tells_writing_from_abandoned(content, store):
    with store.writer("left", Descriptor(Digest.of(b"x"), 100)) as writer:
        writer.write(b"some")
    with store.writer("layer-now") as writer:
        writer.write(b"thing")
        lines = [line.split() for line in content("active")[1].splitlines()]
        assert [line[0] for line in lines] == ["REF", "left", "layer-now"]
        assert lines[1][1:3] + lines[1][-1:] == ["4", "100", "abandoned"]
        assert lines[2][1:3] + lines[2][-1:] == ["5", "-", "writing"]
        assert content("active", "-q", "^lay")[1] == "layer-now\n"
        assert content("active", "-q", "--abandoned")[1] == "left\n"
        assert content("active", "-q", "--writing")[1] == "layer-now\n"
        records = [json.loads(line) for line in content("active", "--json")[1].splitlines()]
        assert [(each["ref"], each["offset"], each["total"], each["state"]) for each in records] == [
            ("left", 4, 100, "abandoned"),
            ("layer-now", 5, None, "writing"),
        ]


def test_a_pattern_that_is_none_is_a_usage_error(content):
    assert content("active", "(")[0] == 2


def test_abort_drops_and_goes_on(content, store):
    for ref in ("a", "b"):
        with store.writer(ref) as writer:
            writer.write(b"x")
    with store.writer("busy"):
        code, out, err = content("abort", "absent", "busy", "-", stdin=b"a\nb\n")
    assert (code, out) == (1, "a\nb\n")
    assert err.count("\n") == 2
    assert list(store.statuses()) == []


# edit


@pytest.fixture
def editor(monkeypatch):
    """An editor that runs a Python expression on the text."""

    def use(expression):
        code = f"import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write({expression}); print('noise')"
        monkeypatch.setenv("EDITOR", f"{sys.executable} -c {shlex.quote(code)}")

    return use


def test_edit_prints_the_digest_of_the_result(content, store, editor):
    put(store, b'{"a": 1}', "name")
    editor("t.replace('1', '2')")
    code, out, _ = content("edit", "name", "--name", "new")
    assert code == 0
    assert read(store, out.strip()) == b'{"a": 2}'
    assert str(store.resolve("new", Hints()).digest) == out.strip()
    assert read(store, store.resolve("name", Hints()).digest) == b'{"a": 1}'


def test_edit_without_a_change_prints_the_same_digest(content, store, editor):
    put(store, b"hello")
    editor("t")
    assert content("edit", HELLO)[1] == HELLO + "\n"


@pytest.mark.parametrize("expression", ["t + '}'", "t.replace('layers', 'manifests')", "t.replace('sha256:', '')"])
def test_edit_refuses_what_is_no_manifest_any_more_and_keeps_the_text(content, store, editor, expression):
    put_image(store, "name")
    editor(expression)
    before = {info.digest for info in store.walk()}
    code, out, err = content("edit", "name")
    assert (code, out) == (5, "")
    kept = err.split("your text is saved in ")[1].strip()
    assert os.path.getsize(kept) > 100
    os.unlink(kept)
    assert {info.digest for info in store.walk()} == before


def test_edit_takes_anything_where_it_may(content, store, editor):
    put(store, b'{"a": 1}', "name")
    editor("'no json'")
    assert content("edit", "name")[0] == 5
    code, out, _ = content("edit", "name", "--no-validate")
    assert (code, read(store, out.strip())) == (0, b"no json")


def test_a_failing_editor_is_a_failure(content, store, monkeypatch):
    put(store, b"hello")
    monkeypatch.setenv("EDITOR", "false")
    code, out, err = content("edit", HELLO)
    assert (code, out) == (9, "")
    assert err == f"dist: {HELLO}: the editor 'false' exited with status 1\n", "nothing was typed that could be lost"


# gc, verify


def test_gc_prints_what_it_removes(content, store):
    image = put_image(store, "name")
    loose = put(store, b"loose")
    with store.writer("left") as writer:
        writer.write(b"some")
    assert content("gc")[1] == ""
    code, out, err = content("gc", "--grace", "0", "--dry-run")
    assert (code, out.split()) == (0, [str(loose.digest), "left"])
    assert err == "dist: would remove 1 blob and 1 write, 9 bytes\n"
    records = [json.loads(line) for line in content("gc", "--grace", "0s", "-n", "--json")[1].splitlines()]
    assert [(each["kind"], each["size"]) for each in records] == [("blob", 5), ("ingest", 4)]
    assert content("gc", "--grace", "0")[1].split() == [str(loose.digest), "left"]
    assert {info.digest for info in store.walk()} == {blob.digest for blob in image.blobs()}


def test_verify_prints_what_is_damaged_so_that_rm_can_remove_it(content, store):
    good, bad = put(store, b"good"), put(store, b"bad")
    os.chmod(store.path(bad.digest), 0o644)
    with open(store.path(bad.digest), "wb") as file:
        file.write(b"bat")
    code, out, err = content("verify")
    assert (code, out) == (5, f"{bad.digest}\n")
    assert "wrong content" in err
    records = [json.loads(line) for line in content("verify", "--json")[1].splitlines()]
    assert {record["digest"]: record["state"] for record in records} == {
        str(good.digest): "ok",
        str(bad.digest): "corrupt",
    }
    assert content("verify", good.digest) == (0, "", "")
    assert content("verify", HELLO)[0] == 3
    assert content("rm", "-", stdin=out.encode())[0] == 0
    assert content("verify") == (0, "", "")


# The whole


def test_the_root_may_be_given_everywhere(content, tmp_path, monkeypatch):
    root = str(tmp_path / "elsewhere")
    assert content("ingest", "ref", "--root", root, stdin=b"hello")[0] == 0
    assert content("ls", "-q")[1] == ""
    monkeypatch.setenv("DIST_STORE", root)
    assert content("ls", "-q")[1] == HELLO + "\n"


def test_a_directory_that_is_no_store_is_not_written(content, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    assert content("ingest", "ref", "--root", tmp_path / "elsewhere", stdin=b"x")[0] == 2
    containerd = tmp_path / "io.containerd.content.v1.content"
    assert content("ingest", "ref", "--root", containerd, stdin=b"x")[0] == 10


@pytest.mark.parametrize("name", CONTENT)
def test_every_command_is_documented_and_says_how_it_is_used(content, name):
    assert content(name, "--help")[0] == 0
    page = (ROOT / "docs" / "content.md").read_text(encoding="utf-8")
    assert f"dist content {name}" in page
    from dist_tool.cli.content import command

    found = command.get_command(click.Context(command), name)
    for option in found.params:
        if isinstance(option, click.Option):
            assert max(option.opts, key=len) in page, f"docs/content.md does not mention {option.opts} of {name}"


def test_listing_imports_nothing_that_it_does_not_need(store):
    put(store, b"hello")
    code = "import sys; from dist_tool.cli import _run; _run(['content', 'ls', '-q']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=dist_environment(), capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert HELLO in loaded
    unwanted = {"requests", "urllib3", "rich", "sqlite3", "tomllib", "json.tool", "ssl", "tempfile"}
    assert not loaded & unwanted


@pytest.mark.parametrize(
    "pipeline",
    [
        "printf hello | dist content ingest greeting",
        "dist content ls -q | xargs dist content path | xargs cat",
        "dist content ls -q --unnamed | dist content rm -",
    ],
)
def test_the_pipelines_of_the_page_work(store, tmp_path, pipeline):
    put(store, b"hello")
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    (bin_directory / "dist").write_text(f'#!/bin/sh\nexec {shlex.join(dist_command())} "$@"\n')
    (bin_directory / "dist").chmod(0o755)
    environment = dist_environment({"PATH": f"{bin_directory}:{os.environ['PATH']}"})
    done = subprocess.run(["sh", "-ec", pipeline], env=environment, capture_output=True, check=True)
    assert done.stdout.decode().strip() in (HELLO, "hello")


def test_types_of_config_and_manifest_are_told_from_the_bytes(content, store):
    put_image(store, "name")
    for word, expected in (("manifest", OCI_MANIFEST), ("config", OCI_CONFIG)):
        (line,) = content("ls", "--json", "--type", word)[1].splitlines()
        assert json.loads(line)["type"] == expected
