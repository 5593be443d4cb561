"""`dist config explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import REFERENCE
from dist_tool.cli._options import Common, common_options

if TYPE_CHECKING:
    from dist_tool.admin.explain import ExplainedEndpoint, Explanation


@click.command("explain", epilog="Example: dist config explain --json redis:7 | jq -r '.endpoints[].url'")
@click.argument("reference", metavar="LOCATOR|REFERENCE", type=REFERENCE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common_options
def command(reference: str, as_json: bool, common: Common) -> None:
    """Show which endpoints would be tried for a name, in order, and the file that configures each.

    With a tag or digest, shows the rules for that object: mirrors for digests only, policy, pins.
    Credentials are named by source; no helper is run, and no secret is shown.
    """
    from dist_tool.admin.explain import explain, parse_name
    from dist_tool.cli._output import print_line
    from dist_tool.errors import printable

    settings = common.settings()
    found = explain(*parse_name(reference, settings), settings)
    if as_json:
        import json

        print_line(json.dumps(found.to_json()))
        return
    for line in _lines(found):
        print_line(printable(line, 4000))


def _lines(found: Explanation) -> Iterator[str]:
    yield f"{found.locator} {found.object}".rstrip()
    yield f"  table: {found.prefix} ({found.where})" if found.where else "  table: none, the name itself"
    for number, endpoint in enumerate(found.endpoints, 1):
        yield f"  {number}. {endpoint.role}: {endpoint.url or endpoint.target}{_where(endpoint.where)}"
        yield from (f"     {name}: {value}" for name, value in _facts(endpoint))
    for key, entry in found.policy.items():
        yield f"  policy {key}: {_listed(entry['value'])}{_where(entry['where'])}"
    if found.pin:
        yield f"  pin: {found.pin['digest']}{_where(found.pin['where'])}"
    if found.refused:
        yield f"  refused: {found.refused}"


def _facts(endpoint: ExplainedEndpoint) -> Iterator[tuple[str, str]]:
    yield "may", ", ".join(endpoint.capabilities)
    if endpoint.url:
        yield "tls", _tls(endpoint)
        yield "proxy", endpoint.proxy or "none"
    if endpoint.ns:
        yield "ns", endpoint.ns
    if endpoint.header:
        yield "header", ", ".join(endpoint.header)
    for line in endpoint.credentials:
        yield "credentials", line
    if endpoint.url and not endpoint.credentials:
        yield "credentials", "none, by auth.source"


def _tls(endpoint: ExplainedEndpoint) -> str:
    tls = endpoint.tls
    if tls is None:
        return "none, plain http"
    if not tls["verify"]:
        return "NOT VERIFIED" + (", or plain http" if tls["insecure"] else "")
    parts = ["verified by the system's CAs", *tls["ca"]]
    return ", ".join(parts) + "".join(f"; client certificate {pair[0]}" for pair in tls["client"])


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _where(where: str) -> str:
    return f" ({where})" if where else ""
