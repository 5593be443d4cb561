"""Files by name, of web servers and of buckets: resumed while they are the same, never a mixture of two (B28-B30).

A registry has none of them: what it has a name for has a digest, too.
"""

from __future__ import annotations

from email.utils import formatdate

import pytest
from support import faults
from support.content import blob, flip
from support.faults import Answer, content, cut, partial, range_ignored, redirect
from support.fetching import docker_config, fetch, with_environment
from support.kinds import KINDS, Kind
from support.processes import Authority, run_dist
from support.server import FaultServer, OpenServer

from dist_tool import errors
from dist_tool.settings import Endpoint, Tls

BLOB = blob("file", 5000)
OTHER = flip(BLOB.data, 8 * 100)
SIZE, AT = len(BLOB.data), 1234
WEB = KINDS["http"]
PATH = WEB.path("disk.img")
TAG = '"v1"'
OLD, NOW = formatdate(1_600_000_000, usegmt=True), formatdate(1_600_000_100, usegmt=True)


def _tagged(answer: Answer, tag: str = TAG) -> Answer:
    return answer.with_header("ETag", tag)


def _asked(server: FaultServer) -> list[tuple[str, str]]:
    return [(request.header("range"), request.header("if-range")) for request in server.requests("GET", PATH)]


def test_a_cut_file_is_continued_under_its_strong_tag(tree: Kind, server: FaultServer) -> None:
    """Behaviours B28."""
    server.script("GET", PATH, _tagged(cut(BLOB.data, AT)), _tagged(content(BLOB.data)))
    outcome = fetch(tree.at(server), "disk.img")
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert _asked(server) == [("", ""), (f"bytes={AT}-", TAG)]
    assert [notice.text for notice in outcome.notices if notice.level == "warning"] == [
        "disk.img: no digest is known, the bytes are not verified"
    ]


def test_of_a_file_that_is_not_there_nothing_is_said_but_that(tree: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, faults.status(404))
    outcome = fetch(tree.at(server), "disk.img")
    assert (outcome.data, type(outcome.error)) == (b"", errors.NotFound)
    assert [notice for notice in outcome.notices if notice.level == "warning"] == []


def test_a_cut_file_is_continued_under_a_date_that_had_settled(tree: Kind, server: FaultServer) -> None:
    """Behaviours B28."""
    dated = [("Last-Modified", OLD), ("Date", NOW)]
    server.script(
        "GET", PATH, *(answer.but(headers=tuple(dated)) for answer in (cut(BLOB.data, AT), content(BLOB.data)))
    )
    assert fetch(tree.at(server), "disk.img").data == BLOB.data
    assert _asked(server)[1] == (f"bytes={AT}-", OLD)


WEAK = {
    "nothing": (),
    "a weak tag": (("ETag", 'W/"v1"'),),
    "a weak tag and a date": (("ETag", 'W/"v1"'), ("Last-Modified", OLD), ("Date", NOW)),
    "a tag without quotes": (("ETag", "v1"),),
    "a date of this second": (("Last-Modified", NOW), ("Date", NOW)),
    "a date without a clock": (("Last-Modified", OLD),),
    "no date at all": (("Last-Modified", "yesterday"), ("Date", NOW)),
}


@pytest.mark.parametrize("headers", WEAK.values(), ids=WEAK)
def test_without_a_strong_validator_it_is_read_again_and_compared(
    tree: Kind, server: FaultServer, headers: tuple[tuple[str, str], ...]
) -> None:
    """Behaviours B28."""
    server.script("GET", PATH, *(answer.but(headers=headers) for answer in (cut(BLOB.data, AT), content(BLOB.data))))
    outcome = fetch(tree.at(server), "disk.img")
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert _asked(server) == [("", ""), ("", "")]


@pytest.mark.parametrize("tag", ["", TAG], ids=["no tag", "tag"])
def test_a_file_that_has_changed_is_no_continuation(tree: Kind, server: FaultServer, tag: str) -> None:
    """What If-Range answers then: 200 and the new file. Behaviours B28."""
    changed = range_ignored(OTHER)
    server.script("GET", PATH, _tagged(cut(BLOB.data, AT), tag), _tagged(changed, '"v2"'))
    outcome = fetch(tree.at(server), "disk.img")
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert outcome.data == b""


def test_a_new_file_with_the_same_beginning_comes_out_whole(tree: Kind, server: FaultServer) -> None:
    """Behaviours B28."""
    new = BLOB.data[:AT] + bytes(SIZE - AT)
    server.script("GET", PATH, _tagged(cut(BLOB.data, AT)), _tagged(range_ignored(new), '"v2"'))
    assert fetch(tree.at(server), "disk.img").data == new


def test_a_part_under_another_tag_is_not_appended(tree: Kind, server: FaultServer) -> None:
    """A server that ignores If-Range and says so, by the tag of what it sends. Behaviours B28."""
    part = partial(OTHER, AT, f"bytes {AT}-{SIZE - 1}/{SIZE}")
    server.script("GET", PATH, _tagged(cut(BLOB.data, AT)), _tagged(part, '"v2"'), _tagged(content(BLOB.data)))
    assert fetch(tree.at(server), "disk.img").data == BLOB.data
    assert _asked(server)[2] == ("", "")


DATED = (("Last-Modified", OLD), ("Date", NOW))
LATER = formatdate(1_600_000_050, usegmt=True)
UNREPEATED = {
    "no tag": ((("ETag", TAG),), ()),
    "the tag, weak": ((("ETag", TAG),), (("ETag", f"W/{TAG}"),)),
    "another tag, weak": ((("ETag", TAG),), (("ETag", 'W/"v2"'),)),
    "another tag without quotes": ((("ETag", TAG),), (("ETag", "v2"),)),
    "two tags": ((("ETag", TAG),), (("ETag", TAG), ("ETag", '"v2"'))),
    "a date for the tag": ((("ETag", TAG),), DATED),
    "no date": (DATED, ()),
    "another date": (DATED, (("Last-Modified", LATER), ("Date", NOW))),
    "another date without a clock": (DATED, (("Last-Modified", LATER),)),
    "a tag for the date": (DATED, (("ETag", TAG),)),
}


@pytest.mark.parametrize("total", [str(SIZE), "*"])
@pytest.mark.parametrize(("first", "then"), UNREPEATED.values(), ids=UNREPEATED)
def test_a_part_that_does_not_repeat_the_validator_is_not_appended(
    tree: Kind, server: FaultServer, first: tuple[tuple[str, str], ...], then: tuple[tuple[str, str], ...], total: str
) -> None:
    """Behaviours B28."""
    part = partial(BLOB.data[::-1], AT, f"bytes {AT}-{SIZE - 1}/{total}")
    whole = content(BLOB.data).but(ranges=False)
    server.script(
        "GET",
        PATH,
        cut(BLOB.data, AT).but(headers=first),
        part.but(headers=(*part.headers, *then)),
        whole.but(headers=first),
    )
    outcome = fetch(tree.at(server), "disk.img")
    assert (outcome.data, outcome.error) == (BLOB.data, None)
    assert [range_ for range_, _ in _asked(server)] == ["", f"bytes={AT}-", ""]


def test_a_part_of_an_unknown_total_is_no_end(tree: Kind, server: FaultServer) -> None:
    """It may be less than what was asked for, and nothing would notice. Behaviours B28."""
    silent = _tagged(cut(BLOB.data, AT, "chunked"))
    part = _tagged(partial(BLOB.data[:2000], AT, f"bytes {AT}-1999/*"))
    server.script("GET", PATH, silent, part, _tagged(content(BLOB.data).but(ranges=False)))
    assert fetch(tree.at(server), "disk.img").data == BLOB.data


@pytest.mark.parametrize("tag", ["", '"v2"'], ids=["no tag", "another tag"])
def test_the_end_of_another_version_is_not_that_of_this_one(tree: Kind, server: FaultServer, tag: str) -> None:
    """A server that ignores If-Range, and whose new file is as long as what has arrived. Behaviours B28."""
    over = faults.unsatisfiable(AT)
    server.script("GET", PATH, _tagged(cut(BLOB.data, AT, "chunked")), _tagged(over, tag) if tag else over)
    server.script("GET", PATH, _tagged(content(BLOB.data).but(ranges=False)))
    assert fetch(tree.at(server), "disk.img").data == BLOB.data


def test_a_tag_belongs_to_the_host_that_gave_it(tree: Kind, servers: OpenServer) -> None:
    """Two caches behind one redirect may both call something else "v1". Behaviours B29."""
    front, one, other = servers(), servers(), servers()
    front.script("GET", PATH, *(redirect(where.url("/x")) for where in (one, other, one)))
    one.script("GET", "/x", _tagged(cut(BLOB.data, AT)), _tagged(content(BLOB.data)))
    other.script("GET", "/x", _tagged(content(OTHER)))
    outcome = fetch(tree.at(front), "disk.img")
    assert (outcome.data, outcome.error) == (BLOB.data, None)


def test_the_cut_tag_is_that_of_the_latest_whole_answer(tree: Kind, server: FaultServer) -> None:
    """Behaviours B29."""
    cut_again = _tagged(cut(BLOB.data, 3000).but(ranges=False), '"v2"')
    server.script("GET", PATH, _tagged(cut(BLOB.data, AT)), cut_again, _tagged(content(BLOB.data), '"v2"'))
    assert fetch(tree.at(server), "disk.img").data == BLOB.data
    assert _asked(server)[2] == ("bytes=3000-", '"v2"')


@pytest.mark.parametrize("framing", ["close", "http10"])
def test_a_file_without_a_size_comes_with_a_second_warning(tree: Kind, server: FaultServer, framing: str) -> None:
    """Behaviours B30."""
    server.script("GET", PATH, content(BLOB.data).but(framing=framing))
    outcome = fetch(tree.at(server), "disk.img")
    assert outcome.data == BLOB.data
    assert [n for n in outcome.notices if "a cut transfer would not be noticed" in n.text]


def test_a_size_hint_finds_a_silent_cut(tree: Kind, server: FaultServer) -> None:
    """Behaviours B30."""
    server.script("GET", PATH, cut(BLOB.data, AT, "close").but(ranges=False), content(BLOB.data))
    outcome = fetch(tree.at(server), "disk.img", f"size:{SIZE}")
    assert outcome.data == BLOB.data


def test_a_coded_file_is_decoded_and_never_continued(tree: Kind, server: FaultServer) -> None:
    """Behaviours B33."""
    whole = _tagged(faults.coded(BLOB.data, "gzip"))
    server.script("GET", PATH, whole.but(cut=AT), whole)
    assert fetch(tree.at(server), "disk.img").data == BLOB.data
    assert _asked(server) == [("", ""), ("", "")]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_that_may_pass_is_tried_again(tree: Kind, server: FaultServer, status: int) -> None:
    server.script("GET", PATH, faults.status(status), content(BLOB.data))
    assert fetch(tree.at(server), "disk.img").data == BLOB.data


@pytest.mark.parametrize(("status", "code"), [(404, 3), (410, 3), (403, 4), (401, 4), (405, 8), (400, 7), (500, 7)])
def test_statuses_are_the_exit_codes_of_every_remote(tree: Kind, server: FaultServer, status: int, code: int) -> None:
    server.always("GET", PATH, faults.status(status, body=b"<html>no</html>"))
    assert fetch(tree.at(server), "disk.img").code == code


NAMES = ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a/", "", "a\nb", "a\x00b", "x" * 1025]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_could_lead_elsewhere_is_never_asked_for(tree: Kind, server: FaultServer, name: str) -> None:
    assert isinstance(fetch(tree.at(server), name).error, errors.InvalidArgument)
    assert server.log == []


@pytest.mark.parametrize(
    ("name", "sent"),
    [("a b", "a%20b"), ("a?b=c", "a%3Fb=c"), ("a#b", "a%23b"), ("a%2e", "a%252e"), ("ü", "%C3%BC"), ("x@y+z", "x@y+z")],
)
def test_names_are_paths_and_nothing_in_them_is_syntax(server: FaultServer, name: str, sent: str) -> None:
    server.script("GET", WEB.path(sent), content(BLOB.data))
    assert fetch(WEB.at(server), name).data == BLOB.data


def test_a_password_is_sent_when_asked_for_and_stays_with_the_origin(servers: OpenServer) -> None:
    front, cdn = servers(), servers()
    wants = faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="files"')])
    front.script("GET", PATH, wants, redirect(cdn.url("/x")))
    cdn.script("GET", "/x", content(BLOB.data))
    environ = with_environment(DOCKER_AUTH_CONFIG=docker_config({front.host: "me:secret-word"}))
    outcome = fetch(WEB.at(front), "disk.img", settings=environ)
    assert outcome.data == BLOB.data
    assert front.log[1].header("authorization").startswith("Basic ")
    assert cdn.log[0].header("authorization") == ""
    assert "secret-word" not in outcome.said


def test_a_401_without_a_challenge_is_final_and_no_api_is_looked_for(tree: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, faults.status(401))
    assert fetch(tree.at(server), "disk.img").code == 4
    assert [request.path for request in server.log] == [PATH]


def test_no_redirect_leaves_tls(tree: Kind, servers: OpenServer, authority: Authority) -> None:
    front, plain = servers(tls=authority.server_context()), servers()
    front.script("GET", PATH, redirect(plain.url("/x", name="cdn.test")))
    outcome = fetch(
        tree.at(front, f"registry.test:{front.port}"), "disk.img", remote=Endpoint(tls=Tls(ca=(authority.ca,)))
    )
    assert isinstance(outcome.error, errors.PolicyRefused)
    assert plain.connections == 0


def test_another_host_than_loopback_is_asked_by_https(tree: Kind, server: FaultServer) -> None:
    outcome = fetch(tree.at(server, f"files.test:{server.port}"), "disk.img", attempts=1)
    assert (outcome.code, server.log) == (6, [])


def test_plain_http_is_a_setting(tree: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, content(BLOB.data))
    remote = Endpoint(plain_http=True)
    assert fetch(tree.at(server, f"files.test:{server.port}"), "disk.img", remote=remote).data == BLOB.data


def test_a_name_may_be_served_by_a_template(server: FaultServer) -> None:
    """Nothing is put after a template."""
    server.script("GET", f"/cas/{BLOB.digest.encoded[:2]}/{BLOB.digest.encoded}", content(BLOB.data))
    location = f"{server.host}/cas/{{prefix}}/{{encoded}}"
    remote = Endpoint(kind="http", location=location)
    assert fetch("registry.test/team/app", BLOB.digest, remote=remote).data == BLOB.data


def test_the_command_warns_and_delivers(tree: Kind, server: FaultServer) -> None:
    server.script("GET", PATH, content(BLOB.data))
    result = run_dist(["fetch", tree.at(server), "disk.img"])
    assert (result.stdout, result.code) == (BLOB.data, 0)
    assert "the bytes are not verified" in result.stderr
