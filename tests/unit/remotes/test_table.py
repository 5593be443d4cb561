"""Which remote a locator means, and plugins of every temper (behaviours R3)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.archives import tar_layout
from support.content import image, write_layout
from support.plugins import install
from support.routes import route

from dist_tool.api import Closable, NamedFetcher, PathFetcher, Remote
from dist_tool.errors import InvalidArgument, NotFound, PolicyRefused, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator, parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes import table
from dist_tool.remotes.function import FunctionRemote
from dist_tool.remotes.layout import LayoutRemote
from dist_tool.remotes.layout.archive import ArchiveRemote
from dist_tool.remotes.registry import RegistryRemote
from dist_tool.run import Notice, Run
from dist_tool.settings import Route, Settings
from dist_tool.stream.body import Body


def open_remote(text: str, *remotes: Route, **environ: str) -> Remote:
    return table.open_remote(parse_locator(text), Settings(routes=remotes, environ=environ))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "img", {"v1": image("table")})


# Names and paths.


def test_a_name_without_a_kind_is_a_registry() -> None:
    opened = open_remote("registry.test/team/app")
    assert isinstance(opened, RegistryRemote)
    opened.close()


@pytest.mark.parametrize("kind", ["", "layout::"])
def test_a_directory_is_a_layout(layout: Path, kind: str) -> None:
    assert isinstance(open_remote(f"{kind}{layout}"), LayoutRemote)


def test_a_home_path_is_expanded_by_the_given_environment(layout: Path) -> None:
    opened = open_remote("~/img", HOME=str(layout.parent))
    assert isinstance(opened, LayoutRemote)
    assert list(opened.tags()) == ["v1"]


def test_a_file_is_an_archive(layout: Path) -> None:
    file = tar_layout(layout.parent / "img.tar", layout)
    opened = open_remote(str(file))
    assert isinstance(opened, ArchiveRemote)
    assert list(opened.tags()) == ["v1"]
    opened.close()


def test_a_missing_path_and_a_directory_without_a_layout_are_errors(tmp_path: Path) -> None:
    for name, error, message in [
        ("", InvalidArgument, "is not an image layout: there is no oci-layout in it"),
        ("missing", NotFound, "no such file or directory"),
    ]:
        with pytest.raises(error, match=message):
            open_remote(str(tmp_path / name))


def test_a_blocked_name_is_refused_with_the_line_of_the_configuration() -> None:
    blocked = route("registry.test/evil", blocked=True, where="/etc/dist/config.toml:7")
    with pytest.raises(PolicyRefused, match=r"registry\.test/evil/app is blocked: by /etc/dist/config\.toml:7"):
        open_remote("registry.test/evil/app", blocked)
    open_remote("registry.test/evilest/app", blocked).close()  # type: ignore[attr-defined]


def test_a_name_may_be_served_from_a_layout(layout: Path) -> None:
    served = route("registry.test/team/app", kind="layout", location=str(layout))
    opened = open_remote("registry.test/team/app", served)
    assert isinstance(opened, LayoutRemote)
    assert list(opened.tags()) == ["v1"]


def test_the_error_of_an_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(Unsupported, match="there is no remote of kind 'nosuch': built in: registry, layout"):
        open_remote("nosuch::x")


# Plugins.


GOOD = """
import io
from dist_tool.errors import NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest

class Shelf:
    def __init__(self, locator, context):
        self.locator, self.context = locator, context
    def resolve(self, object_id, hints):
        return Descriptor(Digest.of(b"x"))
    def open(self, desc, offset=0):
        if desc.digest != Digest.of(b"x"):
            raise NotFound("empty")
        return io.BytesIO(b"x"[offset:])

def open_shelf(locator, context):
    return Shelf(locator, context)

def function(object_id, hints):
    raise NotFound("nothing")

def gives_function(locator, context):
    return function

def gives_nonsense(locator, context):
    return 7

def refuses(locator, context):
    from dist_tool.errors import PolicyRefused
    raise PolicyRefused("not you")

nonsense = 7
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed plugins."""
    site = tmp_path / "site"
    kinds = ["open_shelf", "Shelf", "function", "gives_function", "gives_nonsense", "refuses", "nonsense", "absent"]
    install(site, "good_plugin", GOOD, {kind.lower().replace("_", "-"): kind for kind in kinds})
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "good_plugin", raising=False)
    return site


@pytest.mark.parametrize("kind", ["open-shelf", "shelf"])
def test_a_plugin_gets_the_locator_and_its_context(site: Path, kind: str) -> None:
    notices: list[Notice] = []
    settings = Settings(environ={"A": "b"})
    opened = table.open_remote(parse_locator(f"{kind}::some/where:1"), settings, Run(notices.append))
    assert isinstance(opened, Remote)
    assert opened.plugin.locator == Locator(kind, "some/where:1")  # type: ignore[attr-defined]
    context = opened.plugin.context  # type: ignore[attr-defined]
    assert context.settings is settings
    context.run.report(Notice("info", "hello"))
    assert notices == [Notice("info", "hello")]


@pytest.mark.parametrize("kind", ["shelf", "open-shelf"])
def test_plain_files_of_a_plugin_are_bodies_that_name_its_locator(site: Path, kind: str) -> None:
    opened = open_remote(f"{kind}::x")
    body = opened.open(Descriptor(Digest.of(b"x")), 1)
    assert isinstance(body, Body)
    assert (body.offset, body.source) == (1, f"{kind}::x")
    assert not isinstance(opened, NamedFetcher | Closable | PathFetcher)


def test_a_plugins_kind_may_serve_a_name(site: Path) -> None:
    served = route("registry.test/team", kind="shelf", location="base/dir")
    opened = open_remote("registry.test/team/app", served)
    assert opened.plugin.locator == Locator("shelf", "base/dir/app")  # type: ignore[attr-defined]
    assert opened.plugin.context.endpoint is served.own  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["function", "gives-function"])
def test_a_plugin_may_be_one_plain_function(site: Path, kind: str) -> None:
    opened = open_remote(f"{kind}::x")
    assert isinstance(opened, FunctionRemote)
    with pytest.raises(NotFound, match="nothing"):
        opened.open_name("x", Hints())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nonsense", "is not callable"),
        ("gives-nonsense", "int is not a remote: it needs resolve() and open()"),
        ("absent", "remote kind 'absent': good_plugin:absent does not load: AttributeError"),
    ],
)
def test_a_plugin_that_returns_no_remote_is_unsupported(site: Path, kind: str, said: str) -> None:
    with pytest.raises(Unsupported) as caught:
        open_remote(f"{kind}::x")
    assert said in str(caught.value)


def test_dist_errors_of_a_plugin_are_passed_through(site: Path) -> None:
    with pytest.raises(PolicyRefused, match="not you"):
        open_remote("refuses::x")


@pytest.mark.parametrize(
    "module",
    [
        "this is no python",
        "raise RuntimeError('boom')",
        "import no_such_module_at_all",
        "raise SystemExit(3)",
        "raise KeyboardInterrupt",
    ],
)
def test_a_broken_plugin_fails_its_own_locators_only(
    site: Path, layout: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "broken_plugin", module, {"broken": "opener"})
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    if "KeyboardInterrupt" in module:
        with pytest.raises(KeyboardInterrupt):  # the user's, wherever it strikes
            open_remote("broken::x")
    else:
        with pytest.raises(Unsupported, match="remote kind 'broken': broken_plugin:opener does not load"):
            open_remote("broken::x")
    assert isinstance(open_remote("shelf::x"), Remote)
    assert isinstance(open_remote(str(layout)), LayoutRemote)
    assert "broken" in dict(table.kinds())


def test_an_error_of_ours_from_a_plugins_import_keeps_its_exit_code(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "picky_plugin", "from dist_tool.errors import *; raise PolicyRefused('no key')", {"picky": "x"})
    monkeypatch.delitem(sys.modules, "picky_plugin", raising=False)
    with pytest.raises(PolicyRefused, match="no key"):
        open_remote("picky::x")


def test_a_plugin_cannot_take_a_built_in_kinds_place(site: Path, layout: Path) -> None:
    install(site, "greedy_plugin", GOOD, {"layout": "Shelf", "registry": "Shelf"})
    assert isinstance(open_remote(f"layout::{layout}"), LayoutRemote)
    listed = [name for name, _ in table.kinds()]
    assert listed.count("layout") == 1
    assert dict(table.kinds())["layout"].origin == "built in"


def test_kinds_are_listed_with_their_origin_and_none_is_loaded(site: Path) -> None:
    listed = dict(table.kinds())
    assert list(listed)[: len(table.BUILTIN)] == list(table.BUILTIN)
    assert listed["shelf"] == table.Kind("good_plugin:Shelf", "", "good_plugin 1.2")
    assert "good_plugin" not in sys.modules


@pytest.mark.parametrize("kind", table.BUILTIN)
def test_each_built_in_kind_loads_and_has_a_summary(kind: str) -> None:
    assert callable(table.load_kind(kind))
    assert table.BUILTIN[kind].summary
