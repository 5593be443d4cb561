"""Users and groups of an image, read inside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.layers import held

from dist_tool.errors import InvalidContent, LimitExceeded
from dist_tool.rootfs.accounts import Account, Accounts, read_file

PASSWD = "root:x:0:0:root:/root:/bin/sh\n# comment:x:9:9::\nweb:x:33:44::/:\nbad:x:y:1::/:\nshort:x\nnumber:x:5:6\n"
GROUP = "root:x:0:\nwww:x:44:web\nlog:x:55:web,other\nmembers-missing:x:7\nbad:x:-1:web\n"
ACCOUNTS = Accounts(PASSWD, GROUP)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root", Account("root", 0, 0)),
        ("0", Account("root", 0, 0)),
        ("web", Account("web", 33, 44)),
        ("33", Account("web", 33, 44)),
        ("5", Account("number", 5, 6)),
        ("1234", Account("", 1234, 0)),
        ("bad", None),
        ("# comment", None),
        ("4294967295", None),
        ("٣", None),
        ("-1", None),
    ],
)
def test_users_are_found_by_name_and_number(text: str, expected: Account | None) -> None:
    assert ACCOUNTS.user(text) == expected


# What an image may hold to pass an id off as another's.
DECEPTIVE = Accounts(
    "1000:x:0:0::/:\n4294967295:x:0:0::/:\n-1:x:0:0::/:\n+5:x:0:0::/:\nweb:x:33:44::/:\nlater:x:1000:7::/:\n",
    "1000:x:0:\n99999999999:x:0:\nwww:x:44:\n",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", Account("later", 1000, 7)),
        ("4294967295", None),
        ("-1", None),
        ("+5", None),
        ("web", Account("web", 33, 44)),
    ],
)
def test_digits_are_a_user_id_and_never_a_user_name(text: str, expected: Account | None) -> None:
    assert DECEPTIVE.user(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("1000", 1000), ("99999999999", None), ("0", 0), ("www", 44)])
def test_digits_are_a_group_id_and_never_a_group_name(text: str, expected: int | None) -> None:
    assert DECEPTIVE.group(text) == expected


def test_groups_are_found_by_name_and_number_and_by_member() -> None:
    assert [ACCOUNTS.group(text) for text in ("www", "44", "77", "bad", "none")] == [44, 44, 77, None, None]
    assert ACCOUNTS.supplementary("web", 44) == [55]
    assert ACCOUNTS.supplementary("root", 0) == []


def test_absent_files_know_only_numbers(tmp_path: Path) -> None:
    with held(tmp_path) as root:
        accounts = Accounts.read(root)
    assert (accounts.user("root"), accounts.user("7")) == (None, Account("", 7, 0))
    (tmp_path / "etc").write_text("no directory")
    with held(tmp_path) as root:
        assert Accounts.read(root).user("root") is None


@pytest.mark.parametrize("target", ["../../../../etc/other", "/etc/other", "../etc/./other", "hop"])
def test_links_are_followed_inside_only(tmp_path: Path, target: str) -> None:
    """CVE-2024-9676."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "other").write_text("outside")
    (root / "etc" / "other").write_text("inside")
    (root / "etc" / "hop").symlink_to("/etc/other")
    (root / "etc" / "passwd").symlink_to(target)
    with held(root) as fd:
        assert read_file(fd, b"etc/passwd", 100) == b"inside"


def test_what_is_no_file_or_too_large_or_endless_is_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(101))
    (tmp_path / "loop").symlink_to("loop")
    with held(tmp_path) as fd:
        for name, error in ((b"fifo", InvalidContent), (b"large", LimitExceeded), (b"loop", InvalidContent)):
            with pytest.raises(error):
                read_file(fd, name, 100)
        with pytest.raises(FileNotFoundError):
            read_file(fd, b"none", 100)
