"""What a token server is asked and what its answers mean (behaviours C5-C11, C19, C31)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from dist_tool.auth.keychain import Credentials
from dist_tool.auth.token_server import TokenParameters, TokenRequest, TokenResponse, exchange_token
from dist_tool.errors import (
    DistError,
    PermissionDenied,
    ProtocolError,
    RegistryError,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
)

NOW = 1_700_000_000.0
SECRET = "s3cr3t-p4ss"
REALM = "https://auth.test/token"
SCOPES = ("repository:a/b:pull,push", "repository:host:5000/c:pull")
USER = Credentials("user", SECRET, source="~/.docker/config.json")
IDENTITY = Credentials(identity_token=SECRET, source="docker-credential-x")


class Server:
    """Answers from a list, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[TokenRequest] = []

    def __call__(self, request: TokenRequest) -> TokenResponse:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return TokenResponse(answer, {}, b"")
        if isinstance(answer, TokenResponse):
            return answer
        return TokenResponse(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())


def exchange(
    *answers: Any, credentials: Credentials | None = None, url: str = REALM, service: str = "registry"
) -> tuple[tuple[str, float], list[TokenRequest]]:
    server = Server(*answers)
    found = exchange_token(TokenParameters(url, service, SCOPES, credentials), server, lambda: NOW)
    assert server.answers == []
    return found, server.requests


def failure(answer: Any, credentials: Credentials | None = None) -> DistError:
    with pytest.raises(DistError) as caught:
        exchange(answer, credentials=credentials)
    return caught.value


class TestAsking:
    def test_without_credentials_a_get_asks_for_each_scope(self) -> None:
        """Behaviours C19."""
        _, (request,) = exchange({"token": "t"})
        assert request.method == "GET"
        assert request.form is None
        assert "Authorization" not in request.headers
        parts = urlsplit(request.url)
        assert (parts.netloc, parts.path) == ("auth.test", "/token")
        assert parse_qsl(parts.query) == [("service", "registry"), *(("scope", scope) for scope in SCOPES)]

    def test_user_and_password_go_as_basic_and_not_in_the_url(self) -> None:
        """Behaviours C5."""
        _, (request,) = exchange({"token": "t"}, credentials=USER)
        assert request.method == "GET"
        assert request.headers["Authorization"] == "Basic dXNlcjpzM2NyM3QtcDRzcw=="
        assert SECRET not in request.url
        assert "user" not in request.url

    def test_the_realms_own_query_is_kept(self) -> None:
        """Behaviours C5."""
        _, (request,) = exchange({"token": "t"}, url=f"{REALM}?x=1,2&service=registry&sig=a%2Fb", service="registry")
        query = urlsplit(request.url).query
        assert query.startswith("x=1,2&service=registry&sig=a%2Fb&scope=")
        assert query.count("service=") == 1

    @pytest.mark.parametrize("service", ["a b&scope=evil#x", "ü"])
    def test_what_the_challenge_says_cannot_change_the_urls_shape(self, service: str) -> None:
        _, (request,) = exchange({"token": "t"}, service=service)
        assert parse_qsl(urlsplit(request.url).query)[0] == ("service", service)
        assert request.url.isascii()

    def test_without_service_and_scopes_nothing_is_added(self) -> None:
        server = Server({"token": "t"})
        exchange_token(TokenParameters(REALM, "", ()), server, lambda: NOW)
        assert server.requests[0].url == REALM

    def test_an_identity_token_goes_by_post_with_all_scopes_in_one_field(self) -> None:
        """Behaviours C6."""
        _, (request,) = exchange({"access_token": "t"}, credentials=IDENTITY)
        assert request.method == "POST"
        assert request.url == REALM
        assert request.form == {
            "grant_type": "refresh_token",
            "refresh_token": SECRET,
            "service": "registry",
            "client_id": "dist",
            "scope": " ".join(SCOPES),
        }
        assert "Authorization" not in request.headers

    @pytest.mark.parametrize("status", [404, 405])
    def test_where_there_is_no_post_a_get_follows(self, status: int) -> None:
        """Behaviours C7."""
        both = Credentials("user", SECRET, identity_token="refresh")
        (value, _), (post, get) = exchange(status, {"token": "t"}, credentials=both)
        assert value == "t"
        assert (post.method, get.method) == ("POST", "GET")
        assert get.headers["Authorization"].startswith("Basic ")
        assert "refresh" not in repr((get.url, get.headers))

    def test_an_identity_token_never_goes_by_get(self) -> None:
        """Behaviours C7."""
        _, (_, get) = exchange(404, {"token": "t"}, credentials=IDENTITY)
        assert SECRET not in repr((get.url, dict(get.headers)))

    def test_a_refused_post_is_not_tried_another_way(self) -> None:
        """Behaviours C7."""
        with pytest.raises(Unauthenticated):
            exchange(401, credentials=Credentials("user", SECRET, identity_token="refresh"))

    def test_no_offline_token_is_asked_for(self) -> None:
        """Behaviours C8."""
        for credentials in (None, USER, IDENTITY):
            _, (request,) = exchange({"token": "t"}, credentials=credentials)
            assert "offline" not in request.url + repr(dict(request.form or {}))


class TestTokens:
    @pytest.mark.parametrize(
        ("answer", "value"),
        [
            ({"token": "t"}, "t"),
            ({"access_token": "a"}, "a"),
            ({"token": "t", "access_token": "a"}, "a"),
            ({"token": "t", "access_token": ""}, "t"),
            ({"token": "t", "access_token": None}, "t"),
        ],
    )
    def test_either_name_will_do(self, answer: dict[str, Any], value: str) -> None:
        """Behaviours C9."""
        (found, _), _ = exchange(answer)
        assert found == value

    @pytest.mark.parametrize("answer", [{}, {"token": ""}, {"access_token": None}, {"Token": "t"}])
    def test_no_token_is_an_error(self, answer: dict[str, Any]) -> None:
        """Behaviours C9."""
        error = failure(answer)
        assert type(error) is ProtocolError
        assert "no token" in str(error)

    @pytest.mark.parametrize("value", ["a b", "a\r\nX-Evil: 1", "tökén", 5, ["t"], {"t": 1}, "a\x00"])
    def test_a_token_that_cannot_stand_in_a_header_is_an_error(self, value: Any) -> None:
        assert "unusable token" in str(failure({"token": value}))

    @pytest.mark.parametrize(
        "body", [b"", b"<html>SECRET</html>", b"[]", b'"SECRET"', b"\xff", b"[" * 60_000, b'{"token": "SECRET"'[:-1]]
    )
    def test_a_page_or_garbage_is_a_protocol_error_that_names_status_and_kind(self, body: bytes) -> None:
        error = failure(TokenResponse(200, {"content-type": "text/html"}, body))
        assert type(error) is ProtocolError
        assert error.status == 200
        assert error.exit_code == 7
        assert "status 200" in str(error)
        assert "text/html" in str(error)
        assert "SECRET" not in str(error)

    def test_a_granted_subset_is_not_the_token_servers_error(self) -> None:
        """Behaviours C11."""
        (value, _), _ = exchange({"token": "t", "scope": "repository:a/b:pull"})
        assert value == "t"


class TestExpiry:
    @pytest.mark.parametrize(
        ("lifetime", "seconds"),
        [
            (None, 60),
            (300, 300),
            (300.5, 300.5),
            ("300", 300),
            (1, 60),
            (0, 60),
            (-5, 60),
            (10**9, 86_400),
            (10**400, 86_400),
            (float("inf"), 86_400),
            (float("nan"), 60),
            (True, 60),
            ("soon", 60),
            ("1_000", 60),
            ("٣٠٠", 60),
            ([300], 60),
        ],
    )
    def test_expires_in_is_60_at_least_and_by_default(self, lifetime: Any, seconds: float) -> None:
        """Behaviours C10."""
        answer = {"token": "t"} if lifetime is None else {"token": "t", "expires_in": lifetime}
        (_, expires_at), _ = exchange(answer)
        assert expires_at == NOW + seconds

    @pytest.mark.parametrize(
        ("issued_at", "seconds"),
        [
            ("2023-11-14T22:13:20Z", 300),
            ("2023-11-14T22:12:20.123456789Z", 240.123456),
            ("2023-11-14T23:12:20+01:00", 240),
            ("2023-11-14T22:12:20", 240),
            ("2023-11-14T22:20:00Z", 300),
            ("2020-01-01T00:00:00Z", 300),
            ("2023-11-14T22:08:25Z", 300),
            ("0001-01-01T00:00:00Z", 300),
            ("yesterday", 300),
            (1_700_000_000, 300),
            (None, 300),
        ],
    )
    def test_issued_at_counts_unless_the_clocks_disagree(self, issued_at: Any, seconds: float) -> None:
        """Behaviours C10."""
        (_, expires_at), _ = exchange({"token": "t", "expires_in": 300, "issued_at": issued_at})
        assert expires_at == pytest.approx(NOW + seconds, abs=1e-3)


class TestFailures:
    @pytest.mark.parametrize("status", [401, 403])
    def test_without_credentials_a_refusal_asks_for_some(self, status: int) -> None:
        error = failure(status)
        assert type(error) is Unauthenticated
        assert error.exit_code == 4
        assert "does not exist or may require authorization" in str(error)
        assert (error.status, error.host) == (status, "auth.test")

    @pytest.mark.parametrize(("status", "kind"), [(401, Unauthenticated), (403, PermissionDenied)])
    def test_refused_credentials_are_named_by_their_source(self, status: int, kind: type[DistError]) -> None:
        error = failure(status, USER)
        assert type(error) is kind
        assert "credentials from ~/.docker/config.json" in str(error)

    def test_a_spent_identity_token_is_a_refusal_although_oauth_says_400(self) -> None:
        answer = TokenResponse(400, {}, b'{"error": "invalid_grant", "error_description": "token expired"}')
        error = failure(answer, IDENTITY)
        assert type(error) is Unauthenticated
        assert "docker-credential-x were refused by auth.test (invalid_grant: token expired)" in str(error)
        assert type(failure(answer, USER)) is ProtocolError

    def test_429_asks_to_wait(self) -> None:
        error = failure(TokenResponse(429, {"retry-after": "7"}, b""))
        assert isinstance(error, ResourceExhausted)
        assert error.retry_after == 7
        assert error.retryable
        dated = failure(TokenResponse(429, {"Retry-After": "Tue, 14 Nov 2023 22:13:30 GMT"}, b""))
        assert isinstance(dated, ResourceExhausted)
        assert dated.retry_after == 10

    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
    def test_a_server_that_fails_may_be_asked_again(self, status: int) -> None:
        error = failure(status, USER)
        assert type(error) is ServerError
        assert error.retryable

    @pytest.mark.parametrize("status", [0, 100, 302, 404, 418])
    def test_any_other_status_is_a_protocol_error(self, status: int) -> None:
        error = failure(status)
        assert type(error) is ProtocolError
        assert str(status) in str(error)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"errors": [{"code": "DENIED", "message": "not yours"}]}', "(DENIED: not yours)"),
            (b'{"details": "incorrect username or password"}', "(incorrect username or password)"),
            (b'{"message": "a\\u001b[31mb"}', r"(a\x1b[31mb)"),
            (b'{"errors": [5]}', ""),
            (b"<html>", ""),
        ],
    )
    def test_what_the_server_says_is_shown_safely(self, body: bytes, said: str) -> None:
        text = str(failure(TokenResponse(401, {}, body), USER))
        assert said in text
        assert text.isprintable()

    def test_errors_of_the_exchange_pass_through(self) -> None:
        cut = Unavailable("auth.test: connection refused")
        assert repr(failure(cut, USER)) == repr(cut)


class TestSecrecy:
    """A server may send back what it was sent; none of it may be shown (C31)."""

    @pytest.mark.parametrize("credentials", [USER, IDENTITY])
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
    def test_an_echoed_secret_is_in_no_message(self, credentials: Credentials, status: int) -> None:
        for echo in credentials.secrets():
            body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": f"bad password {echo}!"}]}).encode()
            answers = [TokenResponse(status, {}, body)] * 2
            with pytest.raises(DistError) as caught:
                exchange_token(TokenParameters(REALM, "", SCOPES, credentials), Server(*answers), lambda: NOW)
            shown = f"{caught.value} {caught.value!r} {vars(caught.value)}"
            assert echo not in shown

    def test_an_error_of_the_exchange_that_repeats_a_secret_is_cleaned(self) -> None:
        echoing = ServerError(
            f"UNKNOWN: {SECRET}",
            hint=f"you said {SECRET}",
            host="auth.test",
            registry_errors=[RegistryError("UNKNOWN", SECRET)],
            attempts=["fine", f"UNKNOWN: {SECRET}"],
        )
        error = failure(echoing, USER)
        assert error.attempts[0] == "fine"
        assert SECRET not in f"{error} {error!r} {vars(error)}"
        assert "auth.test" in str(error)

    def test_requests_and_responses_show_neither_headers_nor_bodies(self) -> None:
        _, (get,) = exchange({"token": "t"}, credentials=USER, url=f"{REALM}?sig={SECRET}")
        _, (post,) = exchange({"token": "t"}, credentials=IDENTITY)
        response = TokenResponse(200, {"Set-Cookie": SECRET}, SECRET.encode())
        demand = TokenParameters(REALM, "s", SCOPES, USER)
        shown = f"{get!r} {get} {post!r} {response!r} {response} {demand!r} {demand}"
        assert SECRET not in shown
        assert str(USER.basic) not in shown
        assert "auth.test" in shown
