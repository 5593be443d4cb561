"""Trust and client certificates (trap T8), by handshakes in memory."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.processes import Authority, run_program

from dist_tool.errors import InvalidArgument
from dist_tool.settings import Tls
from dist_tool.transport.tls import tls_context


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str = "registry.test") -> Mapping[str, object]:
    """Shake hands without a socket; returns the client's certificate as the server sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return theirs.getpeercert() or {}


@pytest.fixture
def server(authority: Authority) -> ssl.SSLContext:
    return authority.server_context(ask_client=True)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_bundle_is_trusted(variable: str, authority: Authority, server: ssl.SSLContext) -> None:
    handshake(tls_context(Tls(), {variable: authority.ca}), server)


@pytest.fixture
def stranger(tmp_path: Path) -> str:
    """The certificate of another authority."""
    directory = tmp_path / "stranger"
    directory.mkdir()
    return Authority(directory).ca


def test_the_first_variable_that_is_set_replaces_all_other_trust(
    authority: Authority, server: ssl.SSLContext, stranger: str
) -> None:
    context = tls_context(Tls(), {"SSL_CERT_FILE": stranger, "REQUESTS_CA_BUNDLE": authority.ca})
    assert len(context.get_ca_certs()) == 1
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, server)


def test_an_empty_variable_is_unset(authority: Authority, server: ssl.SSLContext) -> None:
    handshake(tls_context(Tls(), {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": authority.ca}), server)


def test_a_ca_of_the_remotes_own_is_trusted_beside_the_others(
    authority: Authority, server: ssl.SSLContext, stranger: str
) -> None:
    context = tls_context(Tls(ca=(authority.ca,)), {"SSL_CERT_FILE": stranger})
    assert len(context.get_ca_certs()) == 2
    handshake(context, server)


def test_a_directory_of_certificates_is_fine(authority: Authority, server: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Path(authority.ca).read_bytes())
    run_program("openssl", "rehash", str(tmp_path))
    handshake(tls_context(Tls(), {"SSL_CERT_FILE": str(tmp_path)}), server)


def test_without_its_ca_a_server_is_refused(server: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls_context(Tls(), {}), server)


def test_a_certificate_of_another_host_is_refused(authority: Authority, server: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tls_context(Tls(ca=(authority.ca,)), {}), server, "evil.test")


def test_skip_verify_accepts_anything_whatever_the_environment_says(server: ssl.SSLContext, stranger: str) -> None:
    context = tls_context(Tls(skip_verify=True), {"REQUESTS_CA_BUNDLE": stranger, "CURL_CA_BUNDLE": stranger})
    handshake(context, server, "evil.test")


def test_a_client_certificate_is_shown_to_who_asks_with_and_without_verification(
    authority: Authority, server: ssl.SSLContext
) -> None:
    pair = authority.issue("client of the tests")
    for tls in (Tls(ca=(authority.ca,), client=(pair,)), Tls(client=(pair,), skip_verify=True)):
        certificate = handshake(tls_context(tls, {}), server)
        assert certificate["subject"] == ((("commonName", "client of the tests"),),)


def test_no_client_certificate_is_shown_where_none_is_configured(authority: Authority, server: ssl.SSLContext) -> None:
    assert handshake(tls_context(Tls(ca=(authority.ca,)), {}), server) == {}


def test_nothing_below_tls_1_2_is_spoken(authority: Authority) -> None:
    assert tls_context(Tls(), {}).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.fixture
def garbage(tmp_path: Path) -> str:
    file = tmp_path / "garbage.pem"
    file.write_text("no certificate")
    return str(file)


def test_a_file_that_cannot_be_used_is_named(authority: Authority, garbage: str, tmp_path: Path) -> None:
    missing, (certificate, key) = str(tmp_path / "missing.pem"), authority.issue("client of the tests")
    locked = str(tmp_path / "locked.key")
    run_program("openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
    other_key = authority.issue("another client")[1]
    for tls, environ, message in [
        (Tls(ca=(missing,)), {}, f"CA {missing}: No such file or directory"),
        (Tls(ca=(garbage,)), {}, f"CA {garbage}: not a usable PEM file"),
        (Tls(), {"SSL_CERT_FILE": missing}, f"SSL_CERT_FILE {missing}: No such file"),
        (Tls(), {"CURL_CA_BUNDLE": garbage}, f"CURL_CA_BUNDLE {garbage}: not a usable PEM file"),
        (Tls(client=((garbage, key),)), {}, f"key {key} of client certificate {garbage}: not a usable PEM file"),
        (
            Tls(client=((certificate, other_key),)),
            {},
            f"key {other_key} of client certificate {certificate}: the key belongs to another",
        ),
        (Tls(client=((garbage, garbage),)), {}, f"client certificate with its key in {garbage}: not a usable PEM file"),
        (Tls(client=((certificate, missing),)), {}, f"key {missing} of client certificate {certificate}: No such file"),
        (
            Tls(client=((certificate, locked),)),
            {},
            f"key {locked} of client certificate {certificate}: not a usable PEM file",
        ),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            tls_context(tls, environ)
        assert message in str(caught.value)
