"""Secrets are hidden in what is shown, however a server spells them."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_tool.errors import DistError, printable
from dist_tool.redaction import allow, forget_all, hide, remember

SECRET = "p&ä/s<w\\d' \"x"
SPELLINGS = {
    "plain": SECRET,
    "upper case": SECRET.replace("s<w", "S<W"),
    "JSON": json.dumps(SECRET),
    "JSON, UTF-8": json.dumps(SECRET, ensure_ascii=False),
    "JSON of Go": json.dumps(SECRET).replace("&", "\\u0026").replace("<", "\\u003c"),
    "JSON of PHP": json.dumps(SECRET).replace("/", "\\/"),
    "JSON twice": json.dumps(json.dumps(SECRET)),
    "repr": repr(SECRET),
    "URL": quote(SECRET),
    "URL, all": quote(SECRET, safe=""),
    "URL, small": quote(SECRET, safe="").lower(),
    "form": quote_plus(SECRET),
    "URL in part": SECRET.replace("&", "%26"),
    "URL twice": quote(quote(SECRET)),
    "HTML": SECRET.replace("&", "&amp;").replace("<", "&lt;"),
    "UTF-8 read as Latin-1": SECRET.encode().decode("latin-1"),
    "UTF-16 read as Latin-1": SECRET.encode("utf-16-le").decode("latin-1"),
    "quoted string": SECRET.replace("\\", "\\\\").replace('"', '\\"'),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_is_hidden(spelling: str) -> None:
    remember((SECRET,))
    shown = printable(f"before {spelling} after")
    assert "***" in shown
    for part in ("s<w", "s%3", "s&lt", "S<W", "s\\u003c"):
        assert part not in shown


def test_the_rest_of_the_text_stays() -> None:
    remember((SECRET, "hunter2!"))
    assert hide(f"a {SECRET} b HUNTER2! c%20d") == "a *** b *** c%20d"
    assert hide("x=hunter2%21 y") == "x=*** y"
    assert hide("x=hunter2&#33; y") == "*** y"


def test_a_limit_does_not_leave_half_a_secret() -> None:
    remember(("correct-horse",))
    assert printable("xx correct-horse", 10) == "xx ***"


def test_errors_hide_secrets_in_every_part() -> None:
    remember(("correct-horse",))
    error = DistError("no correct-horse", hint="use Correct-Horse")
    assert str(error) == "no ***: use ***"


def test_short_texts_and_names_that_were_asked_for_are_no_secrets() -> None:
    remember(("abc",))
    allow("registry.test/team/app")
    remember(("team/app", "signature"), lasting=False)
    assert hide("abc team/app signature") == "abc team/app ***"


def test_secrets_of_requests_do_not_displace_passwords_and_are_bounded() -> None:
    remember(("correct-horse",))
    remember((f"signature-{n}" for n in range(5000)), lasting=False)
    assert hide("correct-horse signature-4999 signature-10x") == "*** *** signature-10x"


@given(st.text(min_size=4, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_text_keeps_a_secret_and_none_fails(secret: str, before: str, after: str) -> None:
    try:
        if "***" in secret or secret in "***":
            return
        remember((secret,))
        assert secret not in hide(f"{before}{secret}{after}")
    finally:
        forget_all()
