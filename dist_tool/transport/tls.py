"""Trust and client certificates, as one `ssl.SSLContext` an endpoint."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial

from dist_tool.errors import DistError, InvalidArgument
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import Tls

# What other tools call the trust store, in order; the first that is set replaces the system's.
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def tls_context(tls: Tls, environ: Mapping[str, str], run: Run = NO_RUN) -> ssl.SSLContext:
    """The context for an endpoint's own origin.

    The trust store is the environment's or the system's, plus `tls.ca`. Nothing of requests'
    or urllib3's defaults takes part, so that the environment cannot undo a setting (trap T8).
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
        # An encrypted key must not ask at the terminal, in the middle of a pipe.
        load = partial(context.load_cert_chain, keyfile=key, password="")
        what = f"key {key} of client certificate" if key != certificate else "client certificate with its key in"
        _load(certificate, what, load)
    return context


class _TlsSocket(ssl.SSLSocket):
    """A TLS socket whose handshake looks for the cancellation of a run while it waits."""

    run: Run = NO_RUN

    def do_handshake(self, block: bool = False) -> None:
        """Raise TimeoutError after the socket's timeout, and as `Run.slice`."""
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
                    if error.errno is not None:  # from the system: the connection is dead
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
        import certifi  # a Python that knows no system store; requests brings this one

        context.load_verify_locations(cafile=certifi.where())


def _usable(path: str | None) -> bool:
    if not path or not os.path.exists(path):
        return False
    return not os.path.isdir(path) or bool(os.listdir(path))


def _load(path: str, what: str, load: Callable[[str], None]) -> None:
    try:
        load(path)
    except OSError as error:
        if isinstance(error, ssl.SSLError):  # an OSError too, whose text is OpenSSL's own jargon
            mismatch = error.reason == "KEY_VALUES_MISMATCH"
            reason = "the key belongs to another certificate" if mismatch else "not a usable PEM file"
        else:
            reason = error.strerror or "cannot be read"
        raise InvalidArgument(f"{what} {path}: {reason}") from error
