from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from dist_tool.errors import BadManifest, InvalidArgument
from dist_tool.oci.platform import Platform, default_platform, host_architecture


def _names(platforms: list[Platform]) -> list[str]:
    return [f"{p.architecture}/{p.variant}" if p.variant else p.architecture for p in platforms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("arm64", "linux/arm64"),
        ("riscv64", "linux/riscv64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
    ],
)
def test_platforms_parse_to_their_normal_form(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "*", "linux/*", "linux/amd64/v1/x", "linux amd64", "lin\nux/amd64"]
)
def test_a_malformed_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("armv7l", "arm"), ("i686", "386"), ("s390x", "s390x")],
)
def test_the_default_is_linux_on_this_machine(monkeypatch: pytest.MonkeyPatch, machine: str, architecture: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    assert host_architecture() == architecture
    assert default_platform()[:2] == ("linux", architecture)
    assert Platform.parse("linux")[:2] == ("linux", architecture)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("linux/amd64", ["amd64"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64"]),
        ("linux/amd64/v10", ["amd64/v10"]),  # not known: nothing else is the same
        ("linux/arm/v7", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v5", ["arm/v5"]),
        ("linux/arm64", ["arm64"]),
        ("linux/arm64/v8.1", ["arm64/v8.1", "arm64"]),
        ("linux/arm64/v9", ["arm64/v9", *(f"arm64/v8.{n}" for n in (5, 4, 3, 2, 1)), "arm64"]),
        ("linux/riscv64", ["riscv64"]),
    ],
)
def test_older_variants_are_compatible_and_ordered(wanted: str, expected: list[str]) -> None:
    assert _names(Platform.parse(wanted).candidates()) == expected


def test_other_architectures_will_do_only_when_asked_for() -> None:
    assert _names(Platform.parse("linux/amd64").candidates(compatible=True)) == ["amd64", "386"]
    assert _names(Platform.parse("linux/arm64").candidates(compatible=True)) == [
        *("arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5")
    ]


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [
        ("linux/amd64", Platform("linux", "x86_64"), True),
        ("linux/amd64", Platform("Linux", "amd64", "v1"), True),
        ("linux/amd64", Platform("linux", "amd64", "v2"), False),
        ("linux/amd64", Platform("windows", "amd64"), False),
        ("linux/arm64", Platform("linux", "arm64", "v8"), True),
        ("linux/amd64", Platform("linux", "amd64", os_version="1.2"), True),
        ("windows(10.0.17763)/amd64", Platform("windows", "amd64", os_version="10.0.17763.5"), True),
        ("windows(10.0.17763)/amd64", Platform("windows", "amd64", os_version="10.0.14393.1"), False),
        ("windows(10.0.26100)/amd64", Platform("windows", "amd64", os_version="10.0.20348.1"), True),
        ("windows(10.0.20348)/amd64", Platform("windows", "amd64", os_version="10.0.26100.1"), False),
        ("windows(10.0.26100)/amd64", Platform("windows", "amd64", os_version="10.0.17763.1"), False),
        ("windows/amd64", Platform("windows", "amd64", os_version="10.0.17763.1"), True),
        ("windows(10.0.1+a+b)/amd64", Platform("windows", "amd64", "", "", ("a",)), True),
        ("windows(10.0.1+a)/amd64", Platform("windows", "amd64", "", "", ("a", "b")), False),
        ("windows(x)/amd64".replace("x", "1"), Platform("windows", "amd64", os_version="nonsense"), True),
    ],
)
def test_an_offered_platform_is_compatible_or_not(wanted: str, offered: Platform, fits: bool) -> None:
    assert Platform.parse(wanted).accepts(offered) is fits


def test_json_is_read_and_written_without_empty_properties() -> None:
    value = {"architecture": "arm", "os": "windows", "os.version": "10", "os.features": ["a"], "variant": "v7"}
    assert Platform.from_json(value).to_json() == value
    assert Platform.from_json({"architecture": "amd64", "os": "linux"}).to_json() == {
        "architecture": "amd64",
        "os": "linux",
    }


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "linux/amd64",
        {"os": 1, "architecture": "a"},
        {"os.features": "a"},
        {"os.features": [1]},
        {"variant": []},
    ],
)
def test_broken_platforms_are_refused(value: object) -> None:
    with pytest.raises(BadManifest):
        Platform.from_json(value)
