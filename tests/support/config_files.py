"""Writing configuration files, and reading what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dist_tool import config
from dist_tool.names.locator import parse_locator
from dist_tool.names.reference import parse_object
from dist_tool.settings import Route, Settings


def load(directory: Path, toml: str, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of one file, which stands in for the user's own."""
    file = directory / "config.toml"
    file.write_text(toml, encoding="utf-8")
    return config.load(environ or {}, file=str(file))


def write(file: Path, text: str = "") -> Path:
    """A file, its directories made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def write_settings(
    file: Path, *, timeout: int | None = None, remotes: Mapping[str, str] | None = None, max_size: int = 0
) -> Path:
    """A configuration file with these settings; `remotes` maps prefixes to locations."""
    lines = ["[fetch]"]
    lines += [f"timeout = {timeout}"] if timeout is not None else []
    lines += [f"max_size = {max_size}"] if max_size else []
    for prefix, location in (remotes or {}).items():
        lines += ["[[remote]]", f'prefix = "{prefix}"', f'location = "{location}"']
    return write(file, "\n".join(lines))


def chosen(settings: Settings, locator: str, object_id: str = "") -> Route:
    """The route of a name, or an empty one."""
    name = parse_object(object_id) if object_id else None
    return settings.route_for(parse_locator(locator), name) or Route()


def urls(settings: Settings, locator: str, object_id: str = "") -> list[str]:
    """Where a registry's repository is asked for, in order: `SCHEME://HOST/API/REPOSITORY`.

    A scheme that is left to the kind of host is `?`.
    """
    parsed = parse_locator(locator)
    schemes = {True: "http", False: "https", None: "?"}
    found = []
    route = chosen(settings, locator, object_id)
    for endpoint in route.endpoints:
        target = route.rewrite(parsed, endpoint)
        found.append(f"{schemes[endpoint.plain_http]}://{target.host}{endpoint.api_path}/{target.path}")
    return found


def places(settings: Settings, locator: str, object_id: str = "") -> list[str]:
    """Every endpoint as the locator that it is opened with, in order."""
    route = chosen(settings, locator, object_id)
    return [str(route.rewrite(parse_locator(locator), endpoint)) for endpoint in route.endpoints]
