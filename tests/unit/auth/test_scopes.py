"""Scopes: reading and merging (behaviours C12, C13, C15)."""

from __future__ import annotations

import pytest

from dist_tool.auth.scopes import (
    Scope,
    covers,
    delete_scope,
    demanded_scopes,
    merge_scopes,
    mount_scopes,
    parse_scope,
    pull_scope,
    push_scope,
    repository_of,
)


def test_scopes_have_the_wire_form() -> None:
    assert pull_scope("library/redis") == "repository:library/redis:pull"
    assert push_scope("a") == "repository:a:pull,push"
    assert delete_scope("a") == "repository:a:delete"
    assert mount_scopes("dst", "src") == ("repository:dst:pull,push", "repository:src:pull")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("repository:a/b:pull,push", Scope("repository", "a/b", ("pull", "push"))),
        ("repository:host:5000/a:pull", Scope("repository", "host:5000/a", ("pull",))),
        ("repository(plugin):a:pull", Scope("repository(plugin)", "a", ("pull",))),
        ("registry:catalog:*", Scope("registry", "catalog", ("*",))),
        ("repository:a:", Scope("repository", "a", ())),
        ("aws", None),
        ("repository:a", None),
        (":a:pull", None),
        ("repository::pull", None),
    ],
)
def test_a_scope_is_split_at_its_first_and_last_colon(text: str, expected: Scope | None) -> None:
    assert parse_scope(text) == expected
    if expected is not None:
        assert str(expected) == text


@pytest.mark.parametrize(
    ("demanded", "wanted", "expected"),
    [
        ((), ("repository:a:pull",), ("repository:a:pull",)),
        (("repository:a:pull",), ("repository:a:pull",), ("repository:a:pull",)),
        (("repository:a:push,pull",), ("repository:a:pull",), ("repository:a:pull,push",)),
        (("repository:a:delete",), ("repository:a:push",), ("repository:a:push,delete",)),
        (("repository:b:pull",), ("repository:a:pull",), ("repository:b:pull", "repository:a:pull")),
        (("repository:a:*",), ("repository:a:pull",), ("repository:a:*", "repository:a:pull")),
        (("repository:a:pull,metadata",), (), ("repository:a:pull", "repository:a:metadata")),
        (("aws",), ("repository:a:pull",), ("aws", "repository:a:pull")),
        (("registry:catalog:*",), ("registry:catalog:*",), ("registry:catalog:*",)),
    ],
)
def test_newly_demanded_scopes_come_first_and_actions_unite(
    demanded: tuple[str, ...], wanted: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert merge_scopes(demanded, wanted) == expected


def test_covering_is_by_action_not_by_text() -> None:
    assert covers(("repository:a:pull,push",), ("repository:a:pull",))
    assert covers(("repository:a:pull", "aws"), ())
    assert not covers(("repository:a:pull",), ("repository:a:push",))
    assert not covers(("repository:a:pull",), ("repository:b:pull",))
    assert not covers(("repository:a:pull",), ("aws",))


def test_a_servers_demand_is_taken_within_reason() -> None:
    assert demanded_scopes("repository:a:pull  aws") == ("repository:a:pull", "aws")
    assert len(demanded_scopes(" ".join(f"repository:r{n}:pull" for n in range(1000)))) == 32
    assert demanded_scopes("repository:" + "a" * 5000 + ":pull") == ()


def test_credentials_are_looked_up_by_the_first_repository() -> None:
    assert repository_of(("registry:catalog:*", "repository:a/b:pull", "repository:c:pull")) == "a/b"
    assert repository_of(("repository(plugin):a:pull",)) == "a"
    assert repository_of(("registry:catalog:*", "aws")) == ""
