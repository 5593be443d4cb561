"""The containers tools' registries.conf: the endpoints of its man page, in order (behaviours D8-D12)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_files import chosen, places, urls, write
from support.repositories import opened as open_remote

from dist_tool import config
from dist_tool.config.foreign import sources as others
from dist_tool.errors import InvalidArgument, PolicyRefused
from dist_tool.names.hints import Hints
from dist_tool.names.locator import parse_locator
from dist_tool.names.reference import parse_object
from dist_tool.remotes import table
from dist_tool.session import Session
from dist_tool.settings import EVERYTHING, Settings, Tls

SHA = "sha256:" + "a" * 64
EXAMPLE = """
unqualified-search-registries = ["example.com"]

[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"

[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"

[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true

[[registry]]
location = "registry.com"

[[registry.mirror]]
location = "mirror.registry.com"
"""


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that stands for /etc. It does not exist yet."""
    directory = tmp_path / "etc"
    monkeypatch.setattr(others, "ETC", str(directory))
    return directory


def settings(**environ: str) -> Settings:
    return config.load(environ, file="")


def conf(etc: Path, text: str) -> Path:
    return write(etc / "containers" / "registries.conf", text)


# --- The example of the man page.


def test_mirrors_come_in_order_and_the_location_last(etc: Path) -> None:
    conf(etc, EXAMPLE)
    assert places(settings(), "example.com/foo/image", "latest") == [
        "registry::example-mirror-0.local/mirror-for-foo/image",
        "registry::example-mirror-1.local/mirrors/foo/image",
        "registry::internal-registry-for-example.com/bar/image",
    ]


def test_mirrors_belong_to_their_table_only(etc: Path) -> None:
    conf(etc, EXAMPLE)
    assert places(settings(), "registry.com/image") == [
        "registry::mirror.registry.com/image",
        "registry::registry.com/image",
    ]
    assert settings().route_for(parse_locator("example.com/other")) is None


def test_insecure_applies_to_its_endpoint_only(etc: Path) -> None:
    file = conf(etc, EXAMPLE)
    found = chosen(settings(), "example.com/foo/image").endpoints
    assert [endpoint.insecure for endpoint in found] == [False, True, False]
    assert [endpoint.tls for endpoint in found] == [Tls(), Tls(skip_verify=True), Tls()]
    assert [endpoint.where for endpoint in found] == [f"{file}:{line}" for line in (10, 13, 4)]


def test_mirrors_are_read_from_and_never_pushed_to(etc: Path) -> None:
    conf(etc, EXAMPLE)
    first, _, primary = chosen(settings(), "example.com/foo/image").endpoints
    assert (first.capabilities, primary.capabilities) == (EVERYTHING - {"push"}, EVERYTHING)


# --- Prefixes (D9, D10).


@pytest.mark.parametrize(
    ("locator", "place"),
    [
        ("example.com/foo/myimage", "internal.example/bar/myimage"),
        ("example.com/foo", "internal.example/bar"),
        ("example.com/food/x", "whole.example/food/x"),
        ("example.com/foo/deep/er", "deeper.example/er"),
        ("example.com:5000/foo/x", "example.com:5000/foo/x"),
        ("blah.sub.example/foo/x", "blah.sub.example/foo/x"),
        ("a.b.sub.example/foo/x", "a.b.sub.example/foo/x"),
        ("x.other.example/foo/y", "m.example/o/foo/y"),
        ("redis", "hub.example/library/redis"),
        ("docker.io/a/redis", "docker.io/a/redis"),
    ],
)
def test_the_longest_prefix_is_rewritten(locator: str, place: str, etc: Path) -> None:
    conf(
        etc,
        """
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example/bar"
        [[registry]]
        prefix = "example.com"
        location = "whole.example/"
        [[registry]]
        prefix = "example.com/foo/deep/"
        location = "deeper.example"
        [[registry]]
        prefix = "*.sub.example"
        [[registry]]
        prefix = "*.other.example"
        location = "m.example/o"
        [[registry]]
        prefix = "docker.io/library"
        location = "hub.example/library"
        """,
    )
    assert places(settings(), locator)[-1] == f"registry::{place}"


def test_a_prefix_that_is_missing_is_the_location(etc: Path) -> None:
    conf(etc, '[[registry]]\nlocation = "a.example/x"\ninsecure = true\n')
    found = chosen(settings(), "a.example/x/y")
    assert (found.prefix, found.own.location, found.own.insecure) == ("a.example/x", "", True)


def test_a_blocked_prefix_is_refused(etc: Path) -> None:
    file = conf(etc, '[[registry]]\nlocation = "a.example/bad"\nblocked = true\n')
    assert chosen(settings(), "a.example/bad/x").blocked
    with pytest.raises(PolicyRefused, match=f"a.example/bad/x latest is blocked: by {file}:1"):
        settings().check_object(parse_locator("a.example/bad/x"), parse_object("latest"))
    assert not chosen(settings(), "a.example/badder").blocked


def test_a_prefix_may_be_one_tag_or_one_digest(etc: Path) -> None:
    conf(
        etc,
        f"""
        [[registry]]
        location = "a.example/app:bad"
        blocked = true
        [[registry]]
        location = "a.example/app@{SHA}"
        blocked = true
        [[registry]]
        prefix = "a.example:5000/app:1"
        location = "m.example/app:1"
        """,
    )
    assert chosen(settings(), "a.example/app", "bad").blocked
    assert chosen(settings(), "a.example/app", f"bad@{SHA}").blocked
    assert chosen(settings(), "a.example/app", SHA).blocked
    assert not chosen(settings(), "a.example/app", "good").blocked
    assert not chosen(settings(), "a.example/app/sub", "bad").blocked
    assert not chosen(settings(), "a.example/app").blocked
    assert places(settings(), "a.example:5000/app", "1") == ["registry::m.example/app"]
    assert places(settings(), "a.example:5000/app", "2") == ["registry::a.example:5000/app"]


def test_a_blocked_tag_is_refused_by_the_remote_itself(etc: Path) -> None:
    file = conf(etc, '[[registry]]\nlocation = "a.invalid/app:bad"\nblocked = true\n')
    with (
        open_remote("a.invalid/app", settings()) as remote,
        pytest.raises(PolicyRefused, match=f"blocked: by {file}:1"),
    ):
        remote.resolve("bad", Hints())


# --- What mirrors are for (D11).

USES = """
[[registry]]
location = "a.example"
[[registry.mirror]]
location = "all.example"
pull-from-mirror = "all"
[[registry.mirror]]
location = "digest.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tag.example"
pull-from-mirror = "tag-only"
"""


@pytest.mark.parametrize(
    ("object_id", "hosts"),
    [
        ("latest", ["all", "tag", "a"]),
        (SHA, ["all", "digest", "a"]),
        (f"latest@{SHA}", ["all", "digest", "a"]),
    ],
)
def test_mirrors_may_be_for_tags_or_for_digests_only(object_id: str, hosts: list[str], etc: Path) -> None:
    conf(etc, USES)
    assert places(settings(), "a.example/x", object_id) == [f"registry::{host}.example/x" for host in hosts]


def test_without_an_object_the_capabilities_select_the_mirrors(etc: Path) -> None:
    conf(etc, USES)
    reading = {"pull", "resolve", "referrers"}
    assert [endpoint.capabilities for endpoint in chosen(settings(), "a.example/x").mirrors] == [
        reading,
        reading - {"resolve"},
        {"resolve"},
    ]


def test_all_mirrors_may_be_for_digests_only(etc: Path) -> None:
    conf(
        etc,
        '[[registry]]\nlocation = "a.example"\nmirror-by-digest-only = true\n'
        '[[registry.mirror]]\nlocation = "m.example"\n[[registry.mirror]]\nlocation = "n.example"\n',
    )
    assert places(settings(), "a.example/x", "latest") == ["registry::a.example/x"]
    assert places(settings(), "a.example/x", SHA) == [
        "registry::m.example/x",
        "registry::n.example/x",
        "registry::a.example/x",
    ]


# --- Files (D8).


def test_drop_ins_override_by_prefix_in_the_order_of_their_names(etc: Path, isolation: Path) -> None:
    user = isolation / ".config" / "containers" / "registries.conf.d"
    table = '[[registry]]\nprefix = "{}"\nlocation = "{}"\n'
    conf(etc, table.format("a.example", "main.example") + table.format("b.example", "main.example"))
    write(etc / "containers/registries.conf.d/10.conf", table.format("a.example", "ten.example"))
    write(etc / "containers/registries.conf.d/20.conf", table.format("a.example", "twenty.example"))
    write(etc / "containers/registries.conf.d/30.toml", "not TOML")
    (etc / "containers/registries.conf.d/40.conf").mkdir()
    found = settings(HOME=str(isolation))
    assert places(found, "a.example/x") == ["registry::twenty.example/x"]
    assert places(found, "b.example/x") == ["registry::main.example/x"]
    write(user / "05.conf", table.format("a.example", "user.example"))
    assert places(settings(HOME=str(isolation)), "a.example/x") == ["registry::user.example/x"]


def test_the_users_own_file_keeps_the_systems_drop_ins_out(etc: Path, isolation: Path) -> None:
    table = '[[registry]]\nprefix = "{}"\nlocation = "{}"\n'
    conf(etc, table.format("a.example", "main.example"))
    write(etc / "containers/registries.conf.d/10.conf", table.format("b.example", "ten.example"))
    write(isolation / ".config/containers/registries.conf", table.format("c.example", "user.example"))
    write(isolation / ".config/containers/registries.conf.d/10.conf", table.format("d.example", "drop-in.example"))
    found = settings(HOME=str(isolation))
    assert [bool(found.route_for(parse_locator(f"{name}.example/x"))) for name in "abcd"] == [False, False, True, True]


def test_the_environment_may_name_the_file(etc: Path, tmp_path: Path) -> None:
    table = '[[registry]]\nprefix = "{}"\nlocation = "{}"\n'
    conf(etc, table.format("a.example", "main.example"))
    named = write(tmp_path / "r.conf", table.format("b.example", "named.example"))
    found = settings(CONTAINERS_REGISTRIES_CONF=str(named))
    assert found.route_for(parse_locator("a.example/x")) is None
    assert places(found, "b.example/x") == ["registry::named.example/x"]
    with pytest.raises(InvalidArgument, match="/nonexistent: No such file"):
        settings(CONTAINERS_REGISTRIES_CONF="/nonexistent").route_for(parse_locator("a.example/x"))


def test_the_first_of_two_tables_for_one_prefix_counts(etc: Path) -> None:
    conf(
        etc,
        '[[registry]]\nprefix = "a.example"\nlocation = "one.example"\n'
        '[[registry]]\nprefix = "a.example"\nlocation = "two.example"\n',
    )
    assert places(settings(), "a.example/x") == ["registry::one.example/x"]


def test_version_1_is_read_for_blocked_and_insecure_registries(etc: Path) -> None:
    conf(
        etc,
        "[registries.search]\nregistries = ['registry1.com', 'registry2.com']\n"
        "[registries.insecure]\nregistries = ['registry3.com']\n"
        "[registries.block]\nregistries = ['registry.untrusted.com', 'registry3.com']\n",
    )
    assert chosen(settings(), "registry.untrusted.com/x").blocked
    found = chosen(settings(), "registry3.com/x")
    assert (found.blocked, found.own.insecure) == (True, True)
    assert settings().route_for(parse_locator("registry1.com/x")) is None


# --- Short names (D12).


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("fedora", "registry.fedoraproject.example/fedora:latest"),
        ("fedora:40", "registry.fedoraproject.example/fedora:40"),
        (f"fedora@{SHA}", f"registry.fedoraproject.example/fedora@{SHA}"),
        (f"fedora:40@{SHA}", f"registry.fedoraproject.example/fedora:40@{SHA}"),
        ("team/app:1", "r.example:5000/team/app:1"),
        ("docker.io/library/fedora", "docker.io/library/fedora:latest"),
        ("localhost/fedora", "localhost/fedora:latest"),
        ("fedora:5000/x", "fedora:5000/x:latest"),
        ("gone", "docker.io/library/gone:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("./fedora:x", "./fedora:x"),
        ("layout::fedora:x", "layout::fedora:x"),
    ],
)
def test_aliases_stand_for_short_names_and_nothing_is_searched(text: str, meant: str, etc: Path) -> None:
    conf(
        etc,
        'unqualified-search-registries = ["evil.example"]\nshort-name-mode = "permissive"\n[aliases]\n'
        '"fedora" = "registry.fedoraproject.example/fedora"\n"team/app" = "r.example:5000/team/app"\n'
        '"gone" = "r.example/gone"\n',
    )
    write(etc / "containers/registries.conf.d/1.conf", '[aliases]\n"gone" = ""\n')
    assert str(settings().reference(text)) == meant


def test_an_alias_is_a_locator_too(etc: Path) -> None:
    conf(etc, '[aliases]\nfedora = "registry.example/fedora"\n')
    assert str(settings().locator("fedora")) == "registry.example/fedora"
    assert str(settings().locator("alpine")) == "docker.io/library/alpine"
    assert str(settings(DIST_IMPORT="none").locator("fedora")) == "docker.io/library/fedora"


# --- Broken files.


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("[[registry]\n", 1, "not valid TOML"),
        ("\n[[registry]]\ninsecure = true\n", 2, "neither prefix nor location"),
        ('[[registry]]\nprefix = "a.example"\n', 1, "has no location"),
        ('[[registry]]\nlocation = "https://a.example"\n', 2, "a name has no scheme"),
        ('[[registry]]\nprefix = "*.a.example/foo"\n', 2, "a wildcard prefix cannot have a path"),
        ('[[registry]]\nprefix = "a.*.example"\nlocation = "b.example"\n', 2, "a wildcard must be the first"),
        ('[[registry]]\nlocation = "a.example"\npull-from-mirror = "all"\n', 3, "for mirrors only"),
        ('[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\ninsecure = true\n', 3, "has no location"),
        (
            (
                '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "b.example"\n'
                'pull-from-mirror = "some"\n'
            ),
            5,
            "is 'some': expected one of all, digest-only, tag-only",
        ),
        (
            (
                '[[registry]]\nlocation = "a.example"\nmirror-by-digest-only = true\n[[registry.mirror]]\n'
                'location = "b.example"\npull-from-mirror = "all"\n'
            ),
            6,
            "cannot be combined with mirror-by-digest-only",
        ),
        (
            (
                '[[registry]]\nlocation = "a.example"\n[[registry]]\nprefix = "b.example"\nlocation = "a.example"\n'
                "insecure = true\n"
            ),
            3,
            "a.example is insecure in only one of two tables; the other is at ",
        ),
        ('[[registry]]\nprefix = "a.example/b:1"\nlocation = "c.example/b:2"\n', 1, "use the same tag or digest"),
        ('[[registry]]\nlocation = "a.example"\nblocked = 1\n', 3, "expected true or false"),
        ('[registry]\nlocation = "a.example"\n', 1, "write [[registry]], with two brackets"),
        ('[aliases]\n"a.example/x" = "b.example/x"\n', 2, "is not a short name"),
        ('[aliases]\n"x:1" = "b.example/x"\n', 2, "is not a short name"),
        ('[aliases]\nx = "y/z"\n', 2, "does not begin with a host"),
        ('[aliases]\nx = "b.example/x:1"\n', 2, "a locator must not have a tag"),
        ("[aliases]\nx = 1\n", 2, "expected a string"),
        ("[registries]\nblock = 1\n", 2, "expected a table with a list"),
    ],
)
def test_a_broken_file_is_an_error_with_its_line(text: str, line: int, expected: str, etc: Path) -> None:
    file = conf(etc, text)
    with pytest.raises(InvalidArgument) as caught:
        settings().route_for(parse_locator("z.example/x"))
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert expected in str(caught.value)


def test_unknown_keys_are_ignored_as_the_containers_tools_do(etc: Path) -> None:
    conf(etc, 'novelty = 1\ncredential-helpers = ["x"]\n[[registry]]\nlocation = "a.example"\nnovelty = 2\n')
    assert places(settings(), "a.example/x") == ["registry::a.example/x"]


# --- Whose word counts (D17).


def test_a_name_takes_the_table_of_one_source_whole(etc: Path) -> None:
    conf(etc, '[[registry]]\nlocation = "a.example"\ninsecure = true\n[[registry.mirror]]\nlocation = "r.example"\n')
    write(etc / "containerd/certs.d/a.example/hosts.toml", '[host."https://h.example"]\n')
    found = chosen(settings(), "a.example/x")
    assert urls(settings(), "a.example/x") == ["https://h.example/v2/x", "?://a.example/v2/x"]
    assert not any(endpoint.insecure or endpoint.tls.skip_verify for endpoint in found.endpoints)


def test_what_registries_conf_blocks_is_blocked_whatever_hosts_toml_says(etc: Path) -> None:
    conf(etc, '[[registry]]\nlocation = "a.example"\nblocked = true\n')
    write(etc / "containerd/certs.d/a.example/hosts.toml", '[host."https://h.example"]\n')
    assert chosen(settings(), "a.example/x").blocked


def test_our_own_table_wins_except_over_a_block(etc: Path, tmp_path: Path) -> None:
    conf(
        etc,
        '[[registry]]\nlocation = "a.example"\ninsecure = true\n'
        '[[registry]]\nlocation = "a.example/x"\nblocked = true\n',
    )
    file = write(tmp_path / "config.toml", '[[remote]]\nprefix = "a.example"\nheader = { x-tenant = "t" }\n')
    ours = config.load({}, file=str(file))
    found = chosen(ours, "a.example/y")
    assert (found.prefix, found.blocked, found.own.insecure) == ("a.example", False, False)
    for locator in ("a.example/x/y", "a.example:443/x/y", "http::a.example/x/y", "layout::http::a.example/x/y"):
        with pytest.raises(PolicyRefused, match=r"is blocked: by .*registries\.conf:4"):
            table.open_remote(parse_locator(locator), ours)


def test_a_tag_that_registries_conf_blocks_stays_blocked_under_a_table_of_ours(etc: Path, tmp_path: Path) -> None:
    conf(etc, '[[registry]]\nlocation = "a.example/x:old"\nblocked = true\n')
    file = write(tmp_path / "config.toml", '[[remote]]\nprefix = "a.example"\n')
    ours = config.load({}, file=str(file))
    for locator in ("a.example/x", "a.example:443/x"):
        remote = Session(ours).repository(locator)
        with pytest.raises(PolicyRefused, match="is blocked"):
            remote.resolve("old", Hints())
