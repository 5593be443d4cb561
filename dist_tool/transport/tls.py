"""TLS configuration: trusted CAs and client certificates, as one `ssl.SSLContext` per endpoint."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial

from dist_tool.errors import DistError, InvalidArgument
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import Tls

# Trust store variables of other tools, in order; the first that is set replaces the system's store.
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def tls_context(tls: Tls, environ: Mapping[str, str], run: Run = NO_RUN) -> ssl.SSLContext:
    """The TLS context for an endpoint's own origin.

    The trust store is the environment's or the system's, plus `tls.ca`. The defaults of requests
    and urllib3 are not used, so that the environment cannot override a setting (trap T8).
    Handshakes end when `run` is cancelled.
    Raises InvalidArgument naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = type("TlsSocket", (_TlsSocket,), {"run": run})
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _load_trust(context, environ)
    for path in tls.ca:
        _load(path, "CA", context.load_verify_locations)
    for certificate, key in tls.client:
        # With a password given, an encrypted key fails instead of prompting on the terminal.
        load = partial(context.load_cert_chain, keyfile=key, password="")
        what = f"key {key} of client certificate" if key != certificate else "client certificate with its key in"
        _load(certificate, what, load)
    return context


class _TlsSocket(ssl.SSLSocket):
    """A TLS socket whose handshake checks for cancellation of a run while it waits."""

    run: Run = NO_RUN

    def do_handshake(self, block: bool = False) -> None:
        """Perform the handshake. Raises TimeoutError after the socket's timeout, and the errors of `Run.slice`."""
        allowed = self.gettimeout()
        if not allowed:
            super().do_handshake(block)
            return
        due = time.monotonic() + allowed
        try:
            while (left := due - time.monotonic()) > 0:
                self.settimeout(self.run.slice(left))
                try:
                    super().do_handshake(block)
                except TimeoutError as error:
                    if error.errno is not None:  # ETIMEDOUT from the system: the connection is dead
                        raise
                    continue
                self.settimeout(allowed)
                return
            raise TimeoutError("the TLS handshake timed out")
        except DistError:
            self.close()  # ssl closes it for an OSError only
            raise


def _load_trust(context: ssl.SSLContext, environ: Mapping[str, str]) -> None:
    for variable in _BUNDLE_VARIABLES:
        path = environ.get(variable)
        if path:
            _load(
                path,
                variable,
                partial(context.load_verify_locations, None) if os.path.isdir(path) else context.load_verify_locations,
            )
            return
    paths = ssl.get_default_verify_paths()
    context.set_default_verify_paths()
    if not _usable(paths.cafile) and not _usable(paths.capath):
        import certifi  # this Python has no system store; certifi is a dependency of requests

        context.load_verify_locations(cafile=certifi.where())


def _usable(path: str | None) -> bool:
    if not path or not os.path.exists(path):
        return False
    return not os.path.isdir(path) or bool(os.listdir(path))


def _load(path: str, what: str, load: Callable[[str], None]) -> None:
    try:
        load(path)
    except OSError as error:
        if isinstance(error, ssl.SSLError):  # also an OSError; OpenSSL's message is not readable
            mismatch = error.reason == "KEY_VALUES_MISMATCH"
            reason = "the key belongs to another certificate" if mismatch else "not a usable PEM file"
        else:
            reason = error.strerror or "cannot be read"
        raise InvalidArgument(f"{what} {path}: {reason}") from error
