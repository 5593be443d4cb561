"""`dist serve`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dist_tool.cli._completion import DIR, FILE
from dist_tool.cli._options import Common
from dist_tool.errors import InvalidArgument

if TYPE_CHECKING:
    from types import FrameType

    from dist_tool.run import Report
    from dist_tool.service.http import RegistryServer
    from dist_tool.service.http.settings import Observe

PASSWORD_VARIABLE = "DIST_SERVE_PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Command-line options of `dist serve`."""

    layout: str
    listen: str
    name: str
    token_auth: bool
    token_ttl: int
    user: str
    tls_cert: str
    tls_key: str


@click.command("serve", epilog="Example: dist serve ./img --listen 127.0.0.1:0 --name demo")
@click.argument("layout", type=DIR)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:5000",
    help="Address to listen on; port 0 selects a free port. Default: 127.0.0.1:5000.",
)
@click.option(
    "--name",
    metavar="REPOSITORY",
    default="",
    help="Repository of entries with a plain tag. Default: the name of LAYOUT.",
)
@click.option("--token-auth", is_flag=True, help="Require a bearer token, issued at /token.")
@click.option(
    "--token-ttl",
    metavar="SECONDS",
    type=click.IntRange(1, 86400),
    default=300,
    help="Lifetime of a token. Default: 300.",
)
@click.option(
    "--user", metavar="NAME", default="", help=f"Require this user name, and the password in {PASSWORD_VARIABLE}."
)
@click.option(
    "--tls-cert",
    type=FILE,
    default="",
    help="Serve HTTPS with this certificate chain (PEM).",
)
@click.option("--tls-key", type=FILE, default="", help="Private key of the certificate (PEM).")
@click.option("-q", "--quiet", is_flag=True, help="Show only errors on standard error.")
@click.option("-v", "--verbose", is_flag=True, help="Log each request on standard error.")
@click.option(
    "--error-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Format of errors. Default: text.",
)
@click.option("--debug", is_flag=True, help="Show a traceback with each error.")
def command(quiet: bool, verbose: bool, **options: Any) -> None:
    """Serve the image layout LAYOUT as a read-only registry, until interrupted.

    Prints one line when ready: HOST:PORT, the first part of locators.
    """
    for name in ("debug", "error_format"):
        options.pop(name)  # main reads them from argv, also for errors before parsing
    _serve(ServeOptions(**options), Common(quiet, verbose, None, None).report)


def _serve(options: ServeOptions, report: Report) -> None:
    from dist_tool.service.http import RegistryServer

    host, port = parse_listen(options.listen)
    if bool(options.tls_cert) != bool(options.tls_key):
        raise InvalidArgument("--tls-cert and --tls-key must be given together")
    server = RegistryServer(
        options.layout,
        host=host,
        port=port,
        name=options.name,
        token_auth=options.token_auth,
        token_ttl_s=options.token_ttl,
        user=options.user,
        password=_password() if options.user else "",
        tls=(options.tls_cert, options.tls_key) if options.tls_cert else None,
        observe=_observer(report),
        report=report,
    )
    try:
        server.open()
        _warn_of_exposure(server, report)
        received = _until_signalled(server)
    finally:
        server.close()
    _reraise(received)


def parse_listen(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`; IPv6 addresses are in brackets. Raises InvalidArgument."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidArgument(f"--listen {text!r}: put an IPv6 address in brackets", hint="as in [::1]:5000")
    if not separator or not host:
        raise InvalidArgument(f"--listen {text!r} is not HOST:PORT", hint="as in 127.0.0.1:5000 or 0.0.0.0:5000")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise InvalidArgument(f"--listen {text!r}: the port is not between 0 and 65535")
    return host, int(port)


def _password() -> str:
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise InvalidArgument("--user needs a password", hint=f"set {PASSWORD_VARIABLE}")
    return password


def _until_signalled(server: RegistryServer) -> list[int]:
    """Print the address and serve until a signal arrives. Returns the signals. Open requests are finished."""
    import signal

    from dist_tool.cli._output import print_line

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        server.stop()

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN  # a shell ignores SIGINT for background jobs
    }
    try:
        print_line(server.address)
        server.serve()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return received


def _reraise(received: list[int]) -> None:
    """Raise the received signal again after cleanup, for the usual exit status, 130 or 143."""
    import signal

    for number in received[:1]:
        signal.raise_signal(number)


def _observer(report: Report) -> Observe:
    from dist_tool.run import Notice

    return lambda entry: report(Notice("debug", f"{entry.method or '-'} {entry.path or '-'} {entry.status}"))


def _warn_of_exposure(server: RegistryServer, report: Report) -> None:
    from dist_tool.run import Notice

    if server.is_local:
        return
    if not server.user:
        text = f"all clients that can reach {server.address} can read all content; use --user to require a password"
    elif not server.tls:
        text = f"the password is sent to {server.address} unencrypted; use --tls-cert and --tls-key to serve HTTPS"
    else:
        return
    report(Notice("warning", text))
