"""Layers that want out, by name: each must leave everything outside the root as it was.

A case gives layers for a root that lies beside the directory `outside`, in which there are
`secret` (a file), `dir/kept` and `link` (a symlink to `secret`). What else becomes of it is part
of the case: `inside` is the tree that results, `refused` the error. A case with neither may end
either way, as long as it stays inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dist_tool.errors import DistError, InvalidContent, UnsafePath
from support.tars import (
    char_device,
    directory,
    fifo,
    file,
    hard_link,
    header,
    long_link,
    long_name,
    opaque,
    padded,
    pax,
    symlink,
    tar,
    whiteout,
)

Layers = Sequence[bytes]
SECRET = b"the secret"


@dataclass(frozen=True)
class Attack:
    """`layers(outside)` builds the layers, `outside` being the absolute path of what they are after."""

    name: str
    layers: Callable[[str], Layers]
    inside: dict[str, Any] | None = None
    refused: type[DistError] | None = None
    source: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass
class Outside:
    """What an attack must not touch: `here` holds `root` and `outside`."""

    here: Path
    root: Path = field(init=False)
    outside: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root, self.outside = self.here / "root", self.here / "outside"

    def build(self) -> None:
        (self.outside / "dir").mkdir(parents=True)
        (self.outside / "secret").write_bytes(SECRET)
        (self.outside / "dir" / "kept").write_bytes(b"kept")
        (self.outside / "link").symlink_to("secret")
        self.root.mkdir()


ATTACKS: list[Attack] = []


def _attack(
    name: str,
    *entries: bytes | Callable[[str], bytes],
    inside: dict[str, Any] | None = None,
    refused: type[DistError] | None = None,
    source: str = "",
    lower: bytes | Callable[[str], bytes] = b"",
) -> None:
    """Add a case of one layer of `entries`, over a layer of `lower`; each may depend on `outside`."""

    def build(outside: str) -> Layers:
        parts = [part(outside) if callable(part) else part for part in (lower, *entries)]
        return ([tar(parts[0])] if parts[0] else []) + [tar(*parts[1:])]

    assert name not in {attack.name for attack in ATTACKS}
    ATTACKS.append(Attack(name, build, inside, refused, source))


DATA = b"new"

# Names

_attack(
    "dot-dot-file",
    file("../outside/secret", DATA),
    inside={"outside": None, "outside/secret": DATA},
    source="CVE-2007-4559",
)
_attack("dot-dot-only", file("..", DATA), refused=UnsafePath)
_attack("dot-dot-directory", directory("../", mode=0o777), inside={})
_attack("dot-dot-in-the-middle", file("a/../../outside/secret", DATA), inside={"outside": None, "outside/secret": DATA})
_attack("many-dot-dots", file("../" * 30 + "etc/passwd", DATA), inside={"etc": None, "etc/passwd": DATA})
_attack("dot-dot-at-the-end", file("a/b/../..", DATA), refused=UnsafePath)
_attack("absolute-file", lambda o: file(f"{o}/secret", DATA), source="CVE-2007-4559")
_attack("absolute-directory", lambda o: directory(f"{o}/dir", mode=0o777))
_attack("absolute-with-two-slashes", lambda o: file(f"/{o}/secret", DATA))
_attack("dot-slash-dot-dot", file("./../outside/secret", DATA), inside={"outside": None, "outside/secret": DATA})
_attack(
    "pax-path-dot-dot",
    pax({"path": "../outside/secret"}),
    header("harmless", size=3),
    padded(DATA),
    inside={"outside": None, "outside/secret": DATA},
)
_attack(
    "gnu-long-name-dot-dot",
    long_name("../outside/secret"),
    header("harmless", size=3),
    padded(DATA),
    inside={"outside": None, "outside/secret": DATA},
)
_attack(
    "ustar-prefix-dot-dot",
    header("secret", prefix=b"../outside", size=3),
    padded(DATA),
    inside={"outside": None, "outside/secret": DATA},
)
_attack("nul-in-pax-path", pax({"path": b"a\0/../../outside/secret"}), header("h"), refused=InvalidContent)
_attack("empty-name-file", header(""), refused=UnsafePath)
_attack("name-of-slashes-file", file("///", DATA), refused=UnsafePath)
_attack("name-of-dots-file", file("./.", DATA), refused=UnsafePath)
_attack("backslashes-are-no-separators", file("..\\outside\\secret", DATA), inside={"..\\outside\\secret": DATA})
_attack(
    "non-utf-8-name",
    file(b"\xff\xfe/..\xc0\xaf", DATA),
    inside={"\udcff\udcfe": None, "\udcff\udcfe/..\udcc0\udcaf": DATA},
)
_attack("component-of-256-bytes", file("n" * 256, DATA), refused=InvalidContent)
_attack("component-of-255-bytes", file("n" * 255, DATA), inside={"n" * 255: DATA})
_attack("name-of-9000-bytes", file("d/" * 200 + "e" * 200 + "/" + "f/" * 100 + "x" * 255, DATA))
_attack("name-over-path-max", file("/".join(["d" * 200] * 30) + "/f", DATA), source="CVE-2025-4517")
_attack("name-that-is-too-deep", file("d/" * 2000 + "f", DATA), refused=DistError)
_attack("newline-and-escape-in-name", file("a\n\x1b[2Jb", DATA), inside={"a\n\x1b[2Jb": DATA})

# The root itself

_attack(
    "root-as-symlink", lambda o: symlink("/.", o), file("secret", DATA), refused=UnsafePath, source="CVE-2021-29136"
)
_attack("root-as-symlink-dot", lambda o: symlink(".", o), refused=UnsafePath, source="CVE-2021-29136")
_attack("root-as-symlink-dot-slash", lambda o: symlink("./", o), refused=UnsafePath, source="CVE-2021-29136")
_attack("root-as-hard-link", file("f"), hard_link("/", "f"), refused=UnsafePath)
_attack("root-as-file", file("./", DATA), refused=UnsafePath)
_attack("root-as-fifo", fifo("."), refused=UnsafePath)
_attack("root-as-device", char_device("/"), refused=UnsafePath)
_attack("root-mode", directory("./", mode=0o700), file("f", DATA), inside={"f": DATA})

# Symlinks as parents

_attack("file-below-absolute-symlink", lambda o: symlink("out", o), file("out/secret", DATA), source="CVE-2014-9356")
_attack(
    "file-below-relative-symlink",
    symlink("out", "../outside"),
    file("out/secret", DATA),
    inside={"out": "-> ../outside", "outside": None, "outside/secret": DATA},
    source="CVE-2014-6407",
)
_attack("file-below-symlink-to-slash", symlink("out", "/"), file("out/f", DATA), inside={"out": "-> /", "f": DATA})
_attack(
    "file-below-symlink-to-dot-dot",
    symlink("out", ".."),
    file("out/outside/secret", DATA),
    inside={"out": "-> ..", "outside": None, "outside/secret": DATA},
    source="CVE-2021-21272",
)
_attack(
    "file-below-chained-symlinks",
    symlink("a", "b"),
    symlink("b", "c"),
    symlink("c", "../../outside"),
    file("a/secret", DATA),
    inside={"a": "-> b", "b": "-> c", "c": "-> ../../outside", "outside": None, "outside/secret": DATA},
)
_attack(
    "file-below-symlink-in-directory",
    directory("d"),
    symlink("d/up", "../.."),
    file("d/up/outside/secret", DATA),
    inside={"d": None, "d/up": "-> ../..", "outside": None, "outside/secret": DATA},
)
_attack("directory-below-symlink", lambda o: symlink("out", o), directory("out/dir", mode=0o777))
_attack(
    "directory-mode-through-symlink",
    symlink("d", "../outside/dir"),
    directory("d", mode=0o700),
    inside={"d": None},
    source="CVE-2021-32760",
)
_attack("directory-mode-through-dangling-symlink", symlink("d", "nowhere"), directory("d/"), inside={"d": None})
_attack(
    "file-through-symlink",
    symlink("f", "../outside/secret"),
    file("f", DATA),
    inside={"f": DATA},
    source="CVE-2021-21272",
)
_attack("file-through-absolute-symlink", lambda o: symlink("f", f"{o}/secret"), file("f", DATA), inside={"f": DATA})
_attack("file-through-dangling-symlink", symlink("f", "../outside/made"), file("f", DATA), inside={"f": DATA})
_attack("symlink-over-symlink", symlink("l", "../outside/secret"), symlink("l", "else"), inside={"l": "-> else"})
_attack("fifo-through-symlink", symlink("p", "../outside/made"), fifo("p"), inside={"p": "fifo"})
_attack(
    "file-below-proc-self-cwd",
    symlink("out", "/proc/self/cwd"),
    file("out/f", DATA),
    inside={
        "out": "-> /proc/self/cwd",
        "proc": None,
        "proc/self": None,
        "proc/self/cwd": None,
        "proc/self/cwd/f": DATA,
    },
)
_attack("file-below-proc-self-root", symlink("out", "/proc/self/root"), file("out/tmp/f", DATA))
_attack(
    "symlink-loop-as-parent",
    symlink("a", "b"),
    symlink("b", "a"),
    file("a/f", DATA),
    refused=UnsafePath,
    source="ggcr #2232",
)
_attack("symlink-to-itself-as-parent", symlink("a", "a"), file("a/f", DATA), refused=UnsafePath)
_attack(
    "forty-one-symlinks",
    *(symlink(f"l{n}", f"l{n + 1}") for n in range(41)),
    directory("l41"),
    file("l0/f"),
    refused=UnsafePath,
)
_attack("symlink-of-many-components", symlink("a", "x/../" * 800 + "."), file("a/f", DATA))
_attack(
    "symlinks-that-multiply",
    *(symlink(f"l{n}", f"l{n + 1}/../" * 30 + f"l{n + 1}") for n in range(9)),
    directory("l9"),
    file("l0/f", DATA),
    refused=InvalidContent,
)
_attack(
    "symlink-past-path-max",
    lambda o: (
        b"".join(directory("/".join(["d" * 250] * n)) for n in range(1, 17))
        + symlink("/".join(["d" * 250] * 16) + "/l", "../" * 16 + o)
        + file("/".join(["d" * 250] * 16) + "/l/secret", DATA)
    ),
    source="CVE-2025-4517, CVE-2025-4330",
)
_attack(
    "symlink-with-trailing-slash-name",
    symlink("out/", "../outside"),
    file("out/secret", DATA),
    inside={"out": "-> ../outside", "outside": None, "outside/secret": DATA},
    source="CVE-2026-62268",
)
_attack(
    "pax-linkpath",
    pax({"linkpath": "../outside"}),
    header("out", b"2", link="harmless"),
    file("out/secret", DATA),
    inside={"out": "-> ../outside", "outside": None, "outside/secret": DATA},
)
_attack(
    "gnu-long-link",
    long_link("../outside"),
    header("out", b"2", link="harmless"),
    file("out/secret", DATA),
    inside={"out": "-> ../outside", "outside": None, "outside/secret": DATA},
)
_attack("parent-is-a-file", file("f", DATA), file("f/g", DATA), refused=InvalidContent)
_attack("parent-is-a-fifo", fifo("p"), file("p/g", DATA), refused=InvalidContent)
_attack("parent-symlink-to-a-file", symlink("out", "f"), file("f"), file("out/g", DATA), refused=InvalidContent)
_attack(
    "prefix-of-the-root's-name",
    file("../root-other/f", DATA),
    inside={"root-other": None, "root-other/f": DATA},
    source="pip #13777",
)

# Parents that change their meaning: a cache of resolved parents must notice

_attack(
    "parent-becomes-symlink",
    directory("d"),
    file("d/one", b"1"),
    symlink("d", "../outside/dir"),
    file("d/kept", DATA),
    inside={"d": "-> ../outside/dir", "outside": None, "outside/dir": None, "outside/dir/kept": DATA},
    source="CVE-2025-47290",
)
_attack(
    "deep-parent-becomes-symlink",
    file("a/b/c/one", b"1"),
    symlink("a/b", "/outside"),
    file("a/b/c/two", b"2"),
    inside={"a": None, "a/b": "-> /outside", "outside": None, "outside/c": None, "outside/c/two": b"2"},
    source="CVE-2025-47290",
)
_attack(
    "parent-symlink-changes",
    directory("x"),
    directory("y"),
    symlink("l", "x"),
    file("l/one", b"1"),
    symlink("l", "y"),
    file("l/two", b"2"),
    inside={"x": None, "y": None, "l": "-> y", "x/one": b"1", "y/two": b"2"},
    source="CVE-2025-47290",
)
_attack(
    "parent-symlink-becomes-directory",
    directory("x"),
    symlink("l", "x"),
    file("l/one", b"1"),
    directory("l"),
    file("l/two", b"2"),
    inside={"x": None, "x/one": b"1", "l": None, "l/two": b"2"},
    source="CVE-2025-47290",
)
_attack(
    "parent-whited-out-and-made-again",
    file("d/two", b"2"),
    whiteout("d"),
    symlink("e", "../outside"),
    file("e/f", DATA),
    lower=file("d/one", b"1"),
    inside={"d": None, "d/two": b"2", "e": "-> ../outside", "outside": None, "outside/f": DATA},
    source="CVE-2025-47290",
)
_attack(
    "parent-symlink-whited-out",
    file("l/two", b"2"),
    whiteout("l"),
    file("l/three", b"3"),
    lower=directory("d") + symlink("l", "d"),
    inside={"d": None, "d/two": b"2", "l": None, "l/three": b"3"},
    source="CVE-2025-47290",
)
_attack(
    "link-on-the-way-changes",
    directory("x/s"),
    directory("y/s"),
    symlink("l", "x"),
    file("l/s/one", b"1"),
    symlink("l", "y"),
    file("l/s/two", b"2"),
    inside={"x": None, "y": None, "x/s": None, "y/s": None, "l": "-> y", "x/s/one": b"1", "y/s/two": b"2"},
    source="CVE-2025-47290",
)
_attack(
    "directory-attributes-after-it-became-a-symlink",
    directory("d", mode=0o700, mtime=5),
    symlink("d", "../outside/dir"),
    inside={"d": "-> ../outside/dir"},
    source="CVE-2018-15664",
)
_attack(
    "directory-attributes-after-its-parent-became-a-symlink",
    directory("a/dir", mode=0o700, mtime=5),
    symlink("a", "/b"),
    directory("b/dir", mode=0o755),
    inside={"a": "-> /b", "b": None, "b/dir": None},
    source="CVE-2018-15664",
)
_attack(
    "root-and-chroot-race",
    directory("etc"),
    symlink("etc", "/../../outside"),
    file("etc/passwd", DATA),
    inside={"etc": "-> /../../outside", "outside": None, "outside/passwd": DATA},
    source="CVE-2018-15664, CVE-2019-14271",
)

# Hard links

_attack("hard-link-to-outside", lambda o: hard_link("h", f"{o}/secret"), refused=InvalidContent, source="CVE-2014-6407")
_attack("hard-link-to-dot-dot", hard_link("h", "../outside/secret"), refused=InvalidContent)
_attack("hard-link-to-passwd", hard_link("h", "/etc/passwd"), refused=InvalidContent, source="CVE-2024-9676")
_attack(
    "hard-link-relative-to-the-working-directory",
    hard_link("h", "pyproject.toml"),
    refused=InvalidContent,
    source="GHSA-fxhp-mv3v-67qp",
)
_attack(
    "hard-link-through-symlink",
    symlink("out", "../outside"),
    hard_link("h", "out/secret"),
    refused=InvalidContent,
    source="CVE-2026-62268",
)
_attack(
    "hard-link-through-absolute-symlink",
    lambda o: symlink("out", o),
    hard_link("h", "out/secret"),
    refused=InvalidContent,
    source="CVE-2014-9356",
)
_attack(
    "hard-link-of-symlink-then-written",
    symlink("s", "../outside/secret"),
    hard_link("h", "s"),
    file("h", DATA),
    inside={"s": "-> ../outside/secret", "h": DATA},
    source="CVE-2026-62268",
)
_attack(
    "hard-link-of-symlink-with-mode",
    symlink("s", "../outside/secret"),
    hard_link("h", "s", mode=0o777, uid=7),
    inside={"s": "-> ../outside/secret", "h": "-> ../outside/secret"},
    source="CVE-2021-32760",
)
_attack(
    "hard-link-of-symlink-as-parent",
    symlink("s", "../outside"),
    hard_link("h", "s"),
    file("h/secret", DATA),
    inside={"s": "-> ../outside", "h": "-> ../outside", "outside": None, "outside/secret": DATA},
)
_attack(
    "hard-link-into-symlinked-parent",
    file("f", DATA),
    symlink("out", "../outside"),
    hard_link("out/secret", "f"),
    inside={"f": DATA, "out": "-> ../outside", "outside": None, "outside/secret": DATA},
)
_attack(
    "hard-link-over-symlink",
    file("f", DATA),
    symlink("h", "../outside/secret"),
    hard_link("h", "f"),
    inside={"f": DATA, "h": DATA},
)
_attack("hard-link-to-directory", directory("d"), hard_link("h", "d"), refused=InvalidContent)
_attack("hard-link-to-root", hard_link("h", "/"), refused=InvalidContent)
_attack("hard-link-to-nothing", hard_link("h", "nothing"), refused=InvalidContent)
_attack("hard-link-with-empty-target", hard_link("h", ""), refused=InvalidContent)
_attack("hard-link-to-itself", file("f", DATA), hard_link("f", "f"), inside={"f": DATA})
_attack("hard-link-to-later-entry", hard_link("h", "f"), file("f", DATA), refused=InvalidContent)
_attack("hard-link-to-what-it-replaces", file("d/f", DATA), hard_link("d", "d/f"), refused=InvalidContent)
_attack(
    "hard-link-then-replaced-keeps-the-other",
    hard_link("h", "f"),
    file("f", DATA),
    lower=file("f", b"old"),
    inside={"f": DATA, "h": b"old"},
)
_attack("hard-link-loop", hard_link("a", "b"), hard_link("b", "a"), refused=InvalidContent)

# Whiteouts

_attack("whiteout-of-dot-dot", file(".wh..."), refused=UnsafePath, source="containerd 384d46d8b")
_attack("whiteout-of-dot", file(".wh.."), refused=UnsafePath, source="containerd 384d46d8b")
_attack("whiteout-of-nothing", file(".wh."), refused=UnsafePath, source="umoci 635306a3")
_attack("whiteout-of-dot-dot-in-directory", directory("d"), file("d/.wh..."), refused=UnsafePath)
_attack(
    "whiteout-through-symlink", symlink("out", "../outside"), file("out/.wh.secret"), inside={"out": "-> ../outside"}
)
_attack("whiteout-through-absolute-symlink", file("out/.wh.secret"), lower=lambda o: symlink("out", o))
_attack(
    "opaque-through-symlink",
    file("out/.wh..wh..opq"),
    lower=symlink("out", "../outside"),
    inside={"out": "-> ../outside"},
)
_attack("opaque-through-absolute-symlink", file("out/.wh..wh..opq"), lower=lambda o: symlink("out", o))
_attack("whiteout-of-symlink-to-outside", whiteout("out"), lower=symlink("out", "../outside"), inside={})
_attack(
    "whiteout-of-tree-with-symlinks-to-outside",
    whiteout("d"),
    lower=directory("d") + symlink("d/out", "../../outside") + symlink("d/dir", "../../outside/dir"),
    inside={},
)
_attack("opaque-root", opaque(""), lower=file("a/b", b"1") + symlink("out", "../outside"), inside={})
_attack("whiteout-with-dot-dot-parent", file("../outside/.wh.secret"), inside={})
_attack("whiteout-with-absolute-parent", lambda o: file(f"{o}/.wh.secret"), inside={})
_attack("whiteout-is-a-symlink", symlink(".wh.f", "../outside"), lower=file("f"), inside={})
_attack("whiteout-is-a-hard-link", hard_link(".wh.f", "../outside/secret"), lower=file("f"), inside={})
_attack("whiteout-is-a-directory", directory(".wh.f"), lower=file("f"), inside={})
_attack("file-below-a-whiteout", file("d/.wh.x/secret", DATA), refused=UnsafePath)
_attack(
    "aufs-metadata-is-ignored",
    file(".wh..wh.aufs"),
    directory(".wh..wh.plnk"),
    file(".wh..wh.plnk/9.9", DATA),
    inside={},
)
_attack("whiteout-below-a-file", file("f/.wh.g"), lower=file("f", DATA), inside={"f": DATA})
_attack("whiteout-below-nothing", file("a/b/.wh.g"), inside={})
_attack("whiteout-below-a-loop", symlink("l", "l"), file("l/.wh.g"), refused=UnsafePath)
_attack("whiteout-of-256-bytes", file(".wh." + "n" * 256), refused=InvalidContent)

# Types that change

_attack(
    "directory-becomes-symlink",
    symlink("d", "../outside"),
    file("d/secret", DATA),
    lower=file("d/one", b"1"),
    inside={"d": "-> ../outside", "outside": None, "outside/secret": DATA},
)
_attack(
    "symlink-becomes-directory",
    directory("d"),
    file("d/secret", DATA),
    lower=symlink("d", "../outside"),
    inside={"d": None, "d/secret": DATA},
)
_attack(
    "directory-with-symlinks-becomes-file",
    file("d", DATA),
    lower=directory("d") + symlink("d/out", "../../outside/dir"),
    inside={"d": DATA},
)
_attack("file-becomes-directory", directory("f"), lower=file("f", b"1"), inside={"f": None})
_attack("symlink-becomes-fifo", fifo("l"), lower=symlink("l", "../outside/secret"), inside={"l": "fifo"})
_attack("fifo-becomes-file", file("p", DATA), lower=fifo("p"), inside={"p": DATA})
_attack(
    "file-becomes-hard-link", file("t", DATA), hard_link("f", "t"), lower=file("f", b"1"), inside={"t": DATA, "f": DATA}
)
_attack("symlink-becomes-device", char_device("l"), lower=symlink("l", "../outside/secret"))
_attack("file-twice", file("f", b"1"), file("f", DATA), inside={"f": DATA})
_attack("very-deep-tree-becomes-file", file("d", DATA), lower=file("d/" * 400 + "f"), inside={"d": DATA})

# Attributes and devices

_attack("device-as-parent", char_device("d"), file("d/f", DATA))
_attack("device-out-of-range", char_device("d", 2**20, 2**31 - 1), refused=InvalidContent)
_attack(
    "xattr-of-symlink-to-outside",
    pax({"SCHILY.xattr.user.x": "1", "linkpath": "../outside/secret"}),
    header("l", b"2"),
    inside={"l": "-> ../outside/secret"},
)
_attack("times-of-symlink-to-outside", symlink("l", "../outside/secret", mtime=1), inside={"l": "-> ../outside/secret"})
_attack(
    "owner-of-symlink-to-outside", symlink("l", "../outside/secret", uid=1, gid=1), inside={"l": "-> ../outside/secret"}
)
_attack("set-user-id-file", file("f", DATA, mode=0o4755), inside={"f": DATA})
_attack("symlink-to-nothing", header("l", b"2"), refused=InvalidContent)

# Streams

_attack(
    "hidden-entry-behind-pax-size",
    pax({"size": "512"}),
    header("f", size=0),
    file("hidden", b"")[:512],
    file("after"),
    inside={"f": file("hidden", b"")[:512], "after": b""},
    source="CVE-2025-62518, CVE-2026-33055",
)
_attack(
    "hidden-entry-behind-header-size",
    pax({"size": "0"}),
    header("f", size=512),
    file("seen", DATA),
    inside={"f": b"", "seen": DATA},
    source="GHSA-3cv2-h65g-fgmm",
)
_attack(
    "entries-after-the-end-marker", file("f", DATA), bytes(1024), file("../outside/secret", DATA), inside={"f": DATA}
)
_attack("global-header-renames", pax({"path": "../outside/secret"}, b"g"), file("f", DATA), inside={"f": DATA})
