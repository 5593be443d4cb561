"""Platforms: parsing, normalisation and matching (behaviours E1-E9)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from dist_tool.errors import BadManifest, InvalidArgument

_SPECIFIER = re.compile(
    r"(?P<os>[A-Za-z0-9_-]+)(?:\((?P<version>[0-9.]*)(?:\+(?P<features>[A-Za-z0-9_+-]+))?\))?"
    r"(?:/(?P<architecture>[A-Za-z0-9_-]+))?(?:/(?P<variant>[A-Za-z0-9_.-]+))?"
)
_ARCHITECTURES = {
    "aarch64": ("arm64", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_IMPLIED_VARIANTS = {"arm64": ("v8", "8", "v8.0", "8.0"), "amd64": ("v1",)}
_SYSTEMS = {"macos": "darwin"}
_KNOWN_SYSTEMS = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
    ]
)
# From this build on, Windows containers run on any newer host; older builds must match exactly.
_WINDOWS_STABLE_ABI = 20348


class Platform(NamedTuple):
    """The platform of a manifest. Values are not normalised when read; compare `normalised()` forms."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse `os`, `arch`, `os/arch` or `os/arch/variant`, also with `windows(VERSION+FEATURE)`.

        The OS defaults to linux, the architecture to that of this machine. Raises InvalidArgument,
        for wildcards too.
        """
        match = _SPECIFIER.fullmatch(text)
        if match is None:
            raise InvalidArgument(f"{text!r} is not a platform", hint="expected OS/ARCH[/VARIANT], as in linux/arm64")
        system, version, features, architecture, variant = match.groups()
        if architecture is None:
            lowered = _SYSTEMS.get(system.lower(), system.lower())
            if lowered in _KNOWN_SYSTEMS:
                architecture = host_architecture()
            else:
                system, architecture = "linux", system
        return cls(
            system, architecture, variant or "", version or "", tuple(features.split("+")) if features else ()
        ).normalised()

    @classmethod
    def from_json(cls, value: object) -> Platform:
        """Read the platform object of an index entry or an image config. Raises BadManifest."""
        if not isinstance(value, dict):
            raise BadManifest("a platform is not a JSON object")
        parts = [value.get(name, "") for name in ("os", "architecture", "variant", "os.version")]
        features = value.get("os.features") or []
        if not all(isinstance(part, str) for part in parts):
            raise BadManifest("a platform's properties are not strings")
        if not isinstance(features, list) or not all(isinstance(f, str) for f in features):
            raise BadManifest("a platform's os.features are not a list of strings")
        return cls(parts[0], parts[1], parts[2], parts[3], tuple(features))

    def to_json(self) -> dict[str, Any]:
        """The JSON form, without empty properties."""
        out: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            out["os.version"] = self.os_version
        if self.os_features:
            out["os.features"] = list(self.os_features)
        if self.variant:
            out["variant"] = self.variant
        return out

    def __str__(self) -> str:
        version = f"({'+'.join((self.os_version, *self.os_features))})" if self.os_version or self.os_features else ""
        return "/".join(part for part in (self.os + version, self.architecture, self.variant) if part)

    def normalised(self) -> Platform:
        """The canonical form (behaviours E1, E2)."""
        system = self.os.lower()
        architecture, implied = _ARCHITECTURES.get(self.architecture.lower(), (self.architecture.lower(), ""))
        variant = (self.variant or implied).lower()
        if architecture == "arm":
            variant = f"v{variant}" if variant.isdigit() else variant or "v7"
        elif variant in _IMPLIED_VARIANTS.get(architecture, ()):
            variant = ""
        return Platform(_SYSTEMS.get(system, system), architecture, variant, self.os_version, self.os_features)

    def accepts(self, offered: Platform) -> bool:
        """True if an image for `offered` matches this platform, the requested one.

        OS, architecture and variant must be equal after normalisation; os.version and os.features
        are compared as in behaviours E6. For compatible variants see `candidates`.
        """
        mine, theirs = self.normalised(), offered.normalised()
        return (
            mine[:3] == theirs[:3]
            and set(theirs.os_features) <= set(mine.os_features or theirs.os_features)
            and _os_version_fits(mine, theirs)
        )

    def candidates(self, *, compatible: bool = False) -> list[Platform]:
        """Platforms whose images this one can run, best first (behaviours E3, E4).

        Includes older variants of the same architecture; other architectures (arm for arm64,
        386 for amd64) only with `compatible`.
        """
        mine = self.normalised()
        pairs = _vector(mine.architecture, mine.variant)
        if not compatible:
            pairs = [pair for pair in pairs if pair[0] == mine.architecture]
        return [mine._replace(architecture=architecture, variant=variant) for architecture, variant in pairs]


def _vector(architecture: str, variant: str) -> list[tuple[str, str]]:
    arm = [("arm", f"v{n}") for n in (8, 7, 6, 5)]
    if architecture == "arm" and variant in ("v6", "v7", "v8"):
        return [pair for pair in arm if pair[1] <= variant]
    if architecture == "arm64":
        return [("arm64", v) for v in _arm64_variants(variant)] + arm
    if architecture == "amd64" and (not variant or re.fullmatch(r"v[2-9]", variant)):
        level = int(variant[1:] or 1)
        return [("amd64", f"v{n}" if n > 1 else "") for n in range(level, 0, -1)] + [("386", "")]
    return [(architecture, variant)]


def _arm64_variants(variant: str) -> list[str]:
    """Variants that a variant of arm64 can run, best first.

    ARMv9.x includes v8.(x+5), at most v8.9; every minor version includes the lower ones.
    """
    match = re.fullmatch(r"v([89])(?:\.([0-9]{1,2}))?", variant)
    if match is None:
        return [variant] if not variant else [variant, ""]
    major, minor = int(match[1]), int(match[2] or 0)
    nine = [f"v9.{n}" if n else "v9" for n in range(minor, -1, -1)] if major == 9 else []
    top = min(minor + 5, 9) if major == 9 else minor
    return nine + [f"v8.{n}" if n else "" for n in range(top, -1, -1)]


def _os_version_fits(mine: Platform, theirs: Platform) -> bool:
    if mine.os != "windows" or not mine.os_version or not theirs.os_version:
        return True
    mine_build, theirs_build = _build(mine.os_version), _build(theirs.os_version)
    if mine_build < _WINDOWS_STABLE_ABI:
        return mine_build == theirs_build
    return _WINDOWS_STABLE_ABI <= theirs_build <= mine_build


def _build(version: str) -> int:
    parts = version.split(".")
    return int(parts[2]) if len(parts) > 2 and parts[2].isascii() and parts[2].isdigit() else 0


def host_architecture() -> str:
    """This machine's architecture, as the image-spec spells it."""
    from os import uname

    machine = uname().machine
    return Platform("linux", {"armv7l": "armhf", "armv6l": "armel", "i686": "386"}.get(machine, machine)).normalised()[
        1
    ]


def default_platform() -> Platform:
    """Linux on this machine's architecture, whatever the operating system (behaviours E8)."""
    return Platform("linux", host_architecture()).normalised()
