from __future__ import annotations

from collections.abc import Callable

import pytest

from dist_tool.errors import InvalidArgument
from dist_tool.names.hints import Hints, parse_hints, parse_size
from dist_tool.names.locator import Locator, parse_host, parse_locator
from dist_tool.names.reference import ObjectName, Reference, as_digest, as_object, parse_object, parse_reference
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import kind

HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SHA = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "kind", "rest"),
    [
        ("docker.io/library/redis", "", "docker.io/library/redis"),
        ("redis", "", "docker.io/library/redis"),
        ("bitnami/redis", "", "docker.io/bitnami/redis"),
        ("docker.io/redis", "", "docker.io/library/redis"),
        ("index.docker.io/redis", "", "docker.io/library/redis"),
        ("registry-1.docker.io/a/b", "", "docker.io/a/b"),
        ("quay.io/redis", "", "quay.io/redis"),
        ("localhost/x", "", "localhost/x"),
        ("localhost:5000/x", "", "localhost:5000/x"),
        ("127.0.0.1:5000/a/b/c", "", "127.0.0.1:5000/a/b/c"),
        ("[::1]:5000/x", "", "[::1]:5000/x"),
        ("host:5000/x", "", "host:5000/x"),
        ("Registry/x", "", "Registry/x"),
        ("a.b/x__y/z--w.v_u", "", "a.b/x__y/z--w.v_u"),
        ("redis.io", "", "docker.io/library/redis.io"),
        ("./dir", "path", "./dir"),
        ("../dir", "path", "../dir"),
        (".", "path", "."),
        ("~/dir", "path", "~/dir"),
        ("/abs/dir:x", "path", "/abs/dir:x"),
        ("http::example.com/files", "http", "example.com/files"),
        ("layout::./dir", "layout", "./dir"),
        ("s3::bucket/prefix", "s3", "bucket/prefix"),
        ("registry::redis", "registry", "docker.io/library/redis"),
        ("host.io:05000/x", "", "host.io:5000/x"),
        ("[0:0:0:0:0:0:0:1]:5000/x", "", "[::1]:5000/x"),
        ("[2001:DB8:0::1]/x", "", "[2001:db8::1]/x"),
        ("127.1:5000/x", "", "127.0.0.1:5000/x"),
        ("0x7f.1/x", "", "127.0.0.1/x"),
        ("2130706433:05000/x", "", "127.0.0.1:5000/x"),
        ("registry-1.docker.io:443/redis", "", "docker.io/library/redis"),
        ("docker.io:0443/a/b", "", "docker.io/a/b"),
        ("Index.Docker.io:443/a/b", "", "docker.io/a/b"),
        ("registry-1.docker.io:5000/a/b", "", "registry-1.docker.io:5000/a/b"),
        ("1.2.3.4.5:80/x", "", "1.2.3.4.5:80/x"),
    ],
)
def test_locators_come_out_canonical(text: str, kind: str, rest: str) -> None:
    assert parse_locator(text) == Locator(kind, rest)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Docker.io/redis", "docker.io/library/redis"),
        ("INDEX.docker.io/redis", "docker.io/library/redis"),
        ("Quay.IO/x", "quay.io/x"),
        ("LOCALHOST/x", "localhost/x"),
        ("Host:5000/x", "host:5000/x"),
        ("[::A]/x", "[::a]/x"),
    ],
)
def test_a_host_has_one_name_whatever_its_case(text: str, canonical: str) -> None:
    """Credentials, mirrors and policy hang on the name: another spelling must not slip past them."""
    assert str(parse_locator(text)) == canonical


def test_a_locator_knows_its_host_and_path() -> None:
    locator = parse_locator("localhost:5000/a/b")
    assert (locator.host, locator.path) == ("localhost:5000", "a/b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/x\n",
        "a b",
        "host.io/",
        "host.io//x",
        "host.io/x/",
        "host.io/x//y",
        "host.io/./x",
        "host.io/../../x",  # a URL library would fold it away
        "host.io/x/..",
        "host.io/-x",
        "host.io/x-",
        "host.io/x___y",
        "host.io/ü",
        "ü.io/x",
        "::1/x",
        "[::1%25eth0]/x",
        "[::ffff:127.0.0.1]/x",
        "[1.2.3.4]/x",
        "[::1/x",
        "[:::]/x",
        "host.io:0/x",
        "host.io:65536/x",
        "host.io:00000080/x",
        "host.io:٣/x",
        "host.io:/x",
        "host..io/x",
        "-host.io/x",
        "host.io/x:tag",
        "host.io/x@" + SHA,
        "redis:latest",
        "registry::",
        "layout::",
        "host.io/" + "a" * 256,
        f"host.io/{HEX}",
        HEX,
        "x" * 5000,
        "host.io/x\x00",
        "host.io/x\x1b[2J",
        "user@host.io/x",
    ],
)
def test_locators_that_could_mean_something_else_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_locator(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("docker://docker.io/redis", "write docker.io/redis"),
        (
            "https://example.com/files",
            "write http::example.com/files for files of a web server, example.com/files for a registry",
        ),
        ("oci:./dir", "write layout::./dir"),
        ("oci-archive:x.tar", "write archive::x.tar"),
        ("s3://bucket/x", "write s3::bucket/x"),
        ("ftp://host/x", "write KIND::host/x, or the name without ftp://"),
        ("host.io/Redis", "did you mean 'redis'?"),
        ("redis:latest", "give the object as the next argument"),
        ("host.io/x:tag", "give the object as the next argument"),
    ],
)
def test_the_spelling_to_use_instead_is_named(text: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_locator(text)
    assert caught.value.hint == advice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest", ObjectName("latest")),
        ("_x.Y-z", ObjectName("_x.Y-z")),
        ("t" * 128, ObjectName("t" * 128)),
        (SHA, ObjectName("", Digest.parse(SHA))),
        (f"@{SHA}", ObjectName("", Digest.parse(SHA))),
        (f"v1@{SHA}", ObjectName("v1", Digest.parse(SHA))),
    ],
)
def test_objects_are_tags_digests_or_both(text: str, expected: ObjectName) -> None:
    assert parse_object(text) == expected


@pytest.mark.parametrize(
    "text", ["", "latest\n", "ü", "-x", ".x", "a b", "t" * 129, "a/b", "a:b:c", "sha256:abc", f"@v1@{SHA}", "v1@", "@"]
)
def test_an_object_that_is_neither_a_tag_nor_a_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_object(text)


MISSPELLED_DIGESTS = [
    HEX,
    HEX.upper(),
    f"SHA256:{HEX}",
    f"Sha256:{HEX.upper()}",
    f"sha256:{HEX.upper()}",
    f"SHA-256:{HEX}",
    f"sha256={HEX}",
    f"sha256%3A{HEX}",
    f"sha256:sha256:{HEX}",
    f"sha256: {HEX}",
    f" sha256:{HEX}",
    f"sha256:{HEX} ",
    f"sha256:{HEX}\n",
    f"\ufeffsha256:{HEX}",
    f"{HEX}\n",
    f"x@SHA256:{HEX}",
    f"x@{HEX}",
    f"@SHA256:{HEX}",
]


@pytest.mark.parametrize("parse", [parse_object, as_digest])
@pytest.mark.parametrize("text", MISSPELLED_DIGESTS)
def test_a_misspelled_digest_is_refused_with_the_right_spelling(text: str, parse: Callable[[str], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert caught.value.hint == f"did you mean {SHA}?"


@pytest.mark.parametrize("parse", [parse_object, as_digest])
@pytest.mark.parametrize("text", ["MD5:abc", "md5=abc", "x@MD5:abc", "SHA1:abc", "Blake3:abc", f"sha512={HEX}"])
def test_a_misspelled_digest_of_another_algorithm_is_refused(text: str, parse: Callable[[str], object]) -> None:
    with pytest.raises(InvalidArgument, match="is not a "):
        parse(text)


@pytest.mark.parametrize(
    ("length", "algorithm"), [(64, "sha256"), (96, "sha384"), (128, "sha512")], ids=["sha256", "sha384", "sha512"]
)
def test_the_algorithm_of_bare_hexadecimal_digits_follows_from_their_number(length: int, algorithm: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        as_digest("a" * length)
    assert caught.value.hint == f"did you mean {algorithm}:{'a' * length}?"


@pytest.mark.parametrize("text", ["a" * 40, "a" * 63, f"sha256-{HEX}.sig", f"v{HEX}", "shared", "md5", "7-sha256"])
def test_names_that_resemble_a_digest_are_tags(text: str) -> None:
    assert parse_object(text) == ObjectName(text)
    assert as_digest(text) is None


@pytest.mark.parametrize(
    ("text", "locator", "object_id"),
    [
        ("redis", "docker.io/library/redis", "latest"),
        ("redis:7", "docker.io/library/redis", "7"),
        (f"redis@{SHA}", "docker.io/library/redis", SHA),
        (f"redis:7@{SHA}", "docker.io/library/redis", f"7@{SHA}"),
        ("localhost:5000/x", "localhost:5000/x", "latest"),
        ("localhost:5000/x:y", "localhost:5000/x", "y"),
        ("[::1]:5000/x:y", "[::1]:5000/x", "y"),
        ("./dir", "./dir", ""),
        ("./dir:v1", "./dir", "v1"),
        ("./dir:docker.io/library/redis:7", "./dir", "docker.io/library/redis:7"),
        (f"./dir@{SHA}", "./dir", SHA),
        (f"./dir:v1@{SHA}", "./dir", f"v1@{SHA}"),
        ("layout::dir:v1", "layout::dir", "v1"),
        (f"layout::dir:v1@{SHA}", "layout::dir", f"v1@{SHA}"),
        ("archive::x.tar:v1", "archive::x.tar", "v1"),
        ("http::host.io:8080/x:y", "http::host.io:8080/x", "y"),
        ("http::host.io:8080/x", "http::host.io:8080/x", ""),
        ("registry::redis:7", "registry::docker.io/library/redis", "7"),
        ("archive::-:v1", "archive::-", "v1"),
        ("store:::docker.io/library/redis:7", "store::", "docker.io/library/redis:7"),
        (f"store::@{SHA}", "store::", SHA),
        ("layout::http::host.io:8080/x:y", "layout::http::host.io:8080/x", "y"),
        ("layout::s3::bucket@host.io:9000/x:y", "layout::s3::bucket@host.io:9000/x", "y"),
        (f"layout::http::host.io/x@{SHA}", "layout::http::host.io/x", SHA),
    ],
)
def test_a_reference_is_a_locator_and_an_object(text: str, locator: str, object_id: str) -> None:
    reference = parse_reference(text)
    assert (str(reference.locator), reference.object_id) == (locator, object_id)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["", "redis:", "redis@", "redis:-x", "redis@sha256:abc", "./dir:", "docker://redis", "[::1]:5000", "a\nb"]
)
def test_broken_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_reference(text)


def test_a_reference_prints_as_it_is_written() -> None:
    assert str(Reference(Locator("", "docker.io/library/redis"), SHA)) == f"docker.io/library/redis@{SHA}"
    assert str(Reference(Locator("path", "./x"), "")) == "./x"


def test_hints_are_split_at_the_first_colon_and_collected() -> None:
    words = ["mediatype:a/b", "size:12", "type:layer", "mediatype:c/d+json", "colour:red:dark", "-"]
    assert parse_hints(words) == Hints(("a/b", "c/d+json"), 12, "layer", (("colour", "red:dark"),))


def test_the_dash_that_shasum_leaves_is_no_hint() -> None:
    assert parse_hints(["-"]) == Hints()


@pytest.mark.parametrize(
    "word",
    [
        "",
        "size",
        "size:",
        ":x",
        "size:-1",
        "size:1_0",  # int() takes it
        "size:٣",  # this too
        "size:+1",
        "size: 1",
        "size:9223372036854775808",
        "type:picture",
        "mediatype:x",
        "mediatype:a/b; q=1",
        "mediatype:a/b,c/d",
        "mediatype:a/b\r\nX-Evil: 1",
        "x:\x00",
    ],
)
def test_broken_hints_are_refused(word: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_hints([word])


@pytest.mark.parametrize("word", [SHA, f"blake3:{HEX}", f"v1@{SHA}", *MISSPELLED_DIGESTS])
def test_a_digest_is_no_hint(word: str) -> None:
    with pytest.raises(InvalidArgument, match="second object") as caught:
        parse_hints(["size:1", word])
    assert "--stdin" in caught.value.hint
    assert "xargs -n1" in caught.value.hint


def test_two_sizes_must_agree() -> None:
    assert parse_hints(["size:1", "size:1"]).size == 1
    with pytest.raises(InvalidArgument, match="two sizes"):
        parse_hints(["size:1", "size:2"])


def test_the_first_media_type_leads_and_else_the_kind_tells_one() -> None:
    assert parse_hints(["type:index", "mediatype:a/b"]).media_type() == "a/b"
    assert kind(parse_hints(["type:index"]).media_type()) == "index"
    assert kind(parse_hints(["type:manifest"]).media_type()) == "manifest"
    assert kind(parse_hints(["type:config"]).media_type()) == "config"
    assert Hints().media_type() == ""


def test_sizes_are_plain_numbers() -> None:
    assert [parse_size(text) for text in ("0", "007", str(2**63 - 1))] == [0, 7, 2**63 - 1]


@pytest.mark.parametrize(
    "text",
    [
        "redis:7",
        "docker.io/library/redis:7",
        "localhost:latest",
        "shared:latest",
        "latest",
        "a/b",
        f"a/{HEX}",
        "@0x",
        "",
    ],
)
def test_where_names_are_free_text_a_colon_makes_no_digest(text: str) -> None:
    if text.startswith("@"):
        with pytest.raises(InvalidArgument):
            as_digest(text)
    else:
        assert as_digest(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v7", ObjectName("v7")),
        ("redis:7", ObjectName("redis:7")),
        ("@0", ObjectName("@0")),
        ("", ObjectName("")),
        (f"v1@{SHA}", ObjectName("v1", Digest.parse(SHA))),
        (SHA, ObjectName("", Digest.parse(SHA))),
    ],
)
def test_object_of_a_remote_with_free_names_is_a_name_or_a_digest(text: str, expected: ObjectName) -> None:
    assert as_object(text) == expected


@pytest.mark.parametrize("text", [SHA, f"@{SHA}", f"v1@{SHA}", f"blake3:{HEX}", "sha1:abc", "md5:abc"])
def test_where_names_are_free_text_a_digest_is_one_even_if_it_cannot_be_verified(text: str) -> None:
    assert as_digest(text) is not None


@pytest.mark.parametrize("text", ["sha256:short", "@sha256:x", f"v1@{SHA[:-1]}"])
def test_where_names_are_free_text_a_broken_digest_is_no_name(text: str) -> None:
    with pytest.raises(InvalidArgument):
        as_digest(text)


def test_kinds_with_a_place_of_their_own_need_no_other() -> None:
    assert [str(parse_locator(text)) for text in ("store::", "containerd::")] == ["store::", "containerd::"]
    for text in ("layout::", "archive::", "http::", "s3::"):
        with pytest.raises(InvalidArgument, match="nothing follows"):
            parse_locator(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("layout::http::files.example:8080/t", "files.example:8080"),
        ("layout::s3::bucket@files.example/t", "files.example"),
        ("http::files.example/a::b", "files.example"),
        ("http::[::1]:80/x", "[::1]:80"),
    ],
)
def test_a_host_is_found_behind_kinds_within_kinds(text: str, host: str) -> None:
    assert parse_locator(text).host == host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("registry-1.docker.io:443", "docker.io"),
        ("docker.io", "docker.io"),
        ("GHCR.io:0443", "ghcr.io:443"),
        ("[0::1]:5000", "[::1]:5000"),
    ],
)
def test_a_host_of_a_login_is_canonical(text: str, host: str) -> None:
    assert parse_host(text) == host
