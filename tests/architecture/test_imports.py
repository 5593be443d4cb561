"""What may import what: the order of the parts is the order of trust."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dist_tool"
# A room may import rooms of earlier lines, and itself; never another of its own line.
ORDER = (
    {"redaction"},
    {"errors"},
    {"run", "files", "programs", "threads"},
    {"oci"},
    {"names"},
    {"api"},
    {"stream"},
    {"settings"},
    {"context"},
    {"config", "auth", "tar", "rootfs"},
    {"transport", "layers", "store"},
    {"remotes"},
    {"transfer"},
    {"images", "admin"},
    {"session"},
    {"service"},
    {"cli"},
    {"__main__"},
)
# For annotations only: the protocols speak of a type that is built on them.
FOR_TYPES = {("api", "stream"), ("__init__", "session")}
# Third-party packages, and the only parts that may import each.
FOREIGN = {
    "requests": {"transport"},
    "urllib3": {"transport"},
    "certifi": {"transport"},
    "click": {"cli"},
    "rich": {"cli"},
    "grpc": {"service"},
    "google": {"service"},
    "isal": {"layers"},
    "backports": {"layers"},
}
DISK = {"DiskStore", "DiskWriter", "dist_tool.store.disk", "dist_tool.store.writer"}
READS_ENVIRONMENT = {"config", "cli"}
NO_NOUNS = {"utils", "util", "helpers", "helper", "common", "misc"}


class Import(NamedTuple):
    """One import of one module, wherever in a file it is."""

    file: str
    line: int
    module: str
    names: tuple[str, ...]
    for_types: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@cache
def sources() -> dict[Path, ast.Module]:
    files = sorted(path for path in PACKAGE.rglob("*.py") if "_pb" not in path.parts)
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}


def part(path: Path) -> str:
    """The first name below the package: `oci`, `errors`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> tuple[Import, ...]:
    """The imports of a module, wherever they stand."""
    return _imports(path, sources()[path])


@cache
def _imports(path: Path, tree: ast.Module) -> tuple[Import, ...]:
    return tuple(_found(path, tree))


def _found(path: Path, tree: ast.Module) -> Iterator[Import]:
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    file = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, (), id(node) in for_types)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            names = tuple(alias.name for alias in node.names)
            yield Import(file, node.lineno, node.module or "", names, id(node) in for_types)


def own_imports(path: Path) -> Iterator[tuple[str, Import]]:
    """The imports of our own parts, with the part's name."""
    for found in imports(path):
        top, _, rest = found.module.partition(".")
        if top == "dist_tool":
            for target in [rest.partition(".")[0]] if rest else found.names:
                if not target.startswith("__"):
                    yield target, found


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    names = {path: path.relative_to(ROOT).with_suffix("").parts for path in sources()}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in names.items()}


def needs(path: Path) -> Iterator[str]:
    """The modules of dist_tool that a module imports, at any position, also for annotations."""
    known = modules()
    for found in imports(path):
        top, _, rest = found.module.partition(".")
        if top != "dist_tool" or (found.for_types and (part(path), rest.partition(".")[0]) in FOR_TYPES):
            continue
        inner = [f"{found.module}.{name}" for name in found.names if f"{found.module}.{name}" in known]
        yield from inner or [found.module]


def rank(name: str) -> int:
    return next(i for i, parts in enumerate(ORDER) if name in parts)


def test_every_part_has_its_place_in_the_order() -> None:
    known = set().union(*ORDER)
    assert {part(path) for path in sources()} - {"__init__"} <= known


def test_parts_import_only_what_comes_before_them() -> None:
    wrong = [
        str(found)
        for path in sources()
        for target, found in own_imports(path)
        if target != part(path)
        and not (found.for_types and (part(path), target) in FOR_TYPES)
        and (part(path) == "__init__" or rank(target) >= rank(part(path)))
    ]
    assert not wrong


def test_no_module_imports_itself_through_others() -> None:
    """Inside a room as well: a cycle of imports is one module in several files."""
    graph = {name: set(needs(path)) - {name} for name, path in modules().items()}
    while leaves := {name for name, targets in graph.items() if not targets & graph.keys()}:
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    # Modules do not import a package that re-exports them: that would be a cycle.
    assert sorted(graph) == []


def test_only_the_store_and_its_commands_know_the_store_on_disk() -> None:
    """All other parts take the protocols of `api`, and open a store with `dist_tool.store.open_store`."""
    wrong = [
        str(found)
        for path in sources()
        for found in imports(path)
        if found.module.startswith("dist_tool.store")
        and not path.is_relative_to(PACKAGE / "store")
        and not path.is_relative_to(PACKAGE / "cli" / "content")
        and any(name in DISK for name in (found.module, *found.names, *(f"{found.module}.{n}" for n in found.names)))
    ]
    assert not wrong


def test_public_classes_have_names_of_their_own() -> None:
    """One word for one thing: a reader who looks a class up finds one."""
    places: dict[str, list[str]] = {}
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_remotes_do_not_import_each_other() -> None:
    """A remote is one module or one package; `table` opens them by dotted name."""
    wrong = []
    for path in sources():
        if part(path) != "remotes" or path.name == "table.py":
            continue
        here = path.relative_to(PACKAGE / "remotes").parts[0].removesuffix(".py")
        for found in imports(path):
            other = found.module.removeprefix("dist_tool.remotes.").partition(".")[0]
            if found.module.startswith("dist_tool.remotes.") and other not in (here, "table"):
                wrong.append(str(found))
            if found.module == "dist_tool.remotes" and set(found.names) - {here, "table"}:
                wrong.append(str(found))
    assert not wrong


def test_other_parts_know_no_remote_by_name() -> None:
    wrong = [
        str(found)
        for path in sources()
        if part(path) != "remotes"
        for found in imports(path)
        if (found.module.startswith("dist_tool.remotes.") and not found.module.startswith("dist_tool.remotes.table"))
        or (found.module == "dist_tool.remotes" and set(found.names) - {"table"})
    ]
    assert not wrong


def test_third_party_packages_stay_in_their_part() -> None:
    wrong = []
    for path in sources():
        for found in imports(path):
            top = found.module.partition(".")[0]
            if top in sys.stdlib_module_names or top == "dist_tool" or top == "compression":
                continue
            if part(path) not in FOREIGN.get(top, set()):
                wrong.append(str(found))
    assert not wrong


ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}


def test_only_config_and_cli_read_the_environment() -> None:
    """Everyone else is given values, so that a library call depends on its arguments alone."""
    wrong = []
    for path, tree in sources().items():
        if part(path) in READS_ENVIRONMENT:
            continue
        wrong += [str(found) for found in imports(path) if found.module == "os" and ENVIRONMENT & set(found.names)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and getattr(node.value, "id", "") == "os":
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} uses os.{node.attr}")
    assert not wrong


def test_modules_are_named_for_what_they_serve() -> None:
    assert not [str(path) for path in sources() if NO_NOUNS & set(path.relative_to(ROOT).with_suffix("").parts)]


def test_the_rules_see_imports_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    path = PACKAGE / "oci" / "imagined.py"
    code = "if TYPE_CHECKING:\n    import rich.table\ndef f():\n    from dist_tool import errors, cli\n"
    monkeypatch.setitem(sources(), path, ast.parse(code))
    assert [(found.module, found.for_types) for found in imports(path)] == [("rich.table", True), ("dist_tool", False)]
    assert [target for target, _ in own_imports(path)] == ["errors", "cli"]
    with pytest.raises(AssertionError, match="imagined"):
        test_parts_import_only_what_comes_before_them()
    with pytest.raises(AssertionError, match="imagined"):
        test_third_party_packages_stay_in_their_part()


def test_the_rules_see_cycles_of_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, other in (("imagined", "dreamt"), ("dreamt", "imagined")):
        code = f"if TYPE_CHECKING:\n    from dist_tool.oci import {other}\n"
        monkeypatch.setitem(sources(), PACKAGE / "oci" / f"{name}.py", ast.parse(code))
    with pytest.raises(AssertionError, match="dreamt"):
        test_no_module_imports_itself_through_others()


@pytest.mark.parametrize(
    "code",
    ["from dist_tool.store.disk import DiskStore", "import dist_tool.store.disk", "from dist_tool.store import disk"],
)
def test_the_rules_see_imports_of_the_store_on_disk(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setitem(sources(), PACKAGE / "transfer" / "imagined.py", ast.parse(code))
    with pytest.raises(AssertionError, match="imagined"):
        test_only_the_store_and_its_commands_know_the_store_on_disk()
