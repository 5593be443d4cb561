"""Answers on a kept connection: no request ever gets another one's bytes, whatever the server sends in between."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from support.server import Exchange, FaultServer, Step

from dist_tool.context import Context
from dist_tool.names.origin import Origin
from dist_tool.settings import Endpoint, Timeouts
from dist_tool.transport.session import HttpSession, Request

EVIL = b"HTTP/1.1 200 OK\r\nX-For: evil\r\nContent-Length: 4\r\n\r\nevil"
# What no client can take for an answer of its own, however late it comes.
JUNK = [
    b"<html>moved</html>\n",
    b"\r\n",
    b"H",
    b"HTTP/1.1 103 Early Hints\r\n",
    b"\x15\x03\x03\0\x02\x02\x28",
    EVIL[1:],
]
NO_BODY = (204, 205, 304)


@dataclass(frozen=True)
class Answer:
    """One answer. `stray` follows its end at once, `late` in a segment of its own; `pauses` cuts it in segments."""

    method: str
    status: int
    interim: tuple[int, ...]
    framing: str
    stray: bytes
    late: bytes
    pauses: bool

    @property
    def bodiless(self) -> bool:
        return self.method == "HEAD" or self.status in NO_BODY

    def body(self, name: str) -> bytes:
        return b"" if self.bodiless else f"the body of {name}".encode()

    def step(self, name: str) -> Step:
        body = f"the body of {name}".encode()
        fields = {
            "length": f"Content-Length: {len(body)}\r\n",
            "chunked": "Transfer-Encoding: chunked\r\n",
            "close": "Connection: close\r\n",
        }[self.framing]
        if self.status in NO_BODY:
            fields = "Content-Length: 0\r\n" if self.status == 205 else ""
        sent = body if self.framing != "chunked" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        pieces = [
            *(
                f"HTTP/1.1 {status} Wait\r\nX-For: evil\r\nContent-Length: 4\r\n\r\n".encode()
                for status in self.interim
            ),
            f"HTTP/1.1 {self.status} Done\r\nX-For: {name}\r\n{fields}\r\n".encode(),
            b"" if self.bodiless else sent,
        ]
        while not pieces[-1]:
            pieces.pop()
        pieces[-1] += self.stray  # in one segment: later, on a kept connection, none could tell it from an answer

        def step(exchange: Exchange) -> None:
            for piece in pieces if self.pauses else [b"".join(pieces)]:
                exchange.send(piece)
                exchange.wait(0.001 if self.pauses else 0)
            if self.late:
                exchange.wait(0.002)
                exchange.send(self.late)
            if self.framing == "close" and not self.bodiless:
                exchange.close()

        return step


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    method = draw(st.sampled_from(["GET", "GET", "HEAD"]))
    status = draw(st.sampled_from([200, 200, 404, 401, 403, 500, *NO_BODY]))
    framing = draw(st.sampled_from(["length", "length", "chunked", "close"]))
    stray = late = b""
    if framing != "close" or method == "HEAD" or status in NO_BODY:
        never_kept = status in NO_BODY or framing == "close" or (method == "HEAD" and status in (403, 500))
        stray = draw(st.sampled_from([b"", b"", EVIL, EVIL * 2, *JUNK]))
        late = draw(st.sampled_from([b"", b"", *JUNK, *([EVIL] if never_kept else [])]))
    interim = tuple(draw(st.lists(st.sampled_from([100, 102, 103, 199]), max_size=2)))
    return Answer(method, status, interim, framing, stray, late, draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(st.lists(answers(), min_size=2, max_size=6))
def test_every_request_gets_its_own_answer(sequence: list[Answer]) -> None:
    with FaultServer() as server:
        session = HttpSession(Origin.of(server.url()), Context(Endpoint(timeout=Timeouts(headers_s=5, idle_s=5))))
        for number, answer in enumerate(sequence):
            name = f"/{number}"
            server.always(answer.method, name, answer.step(name))
            reply = session.send(Request(answer.method, server.url(name)))
            assert (reply.status, reply.headers["X-For"]) == (answer.status, name)
            assert reply.read(1000) == answer.body(name)
        session.close()
