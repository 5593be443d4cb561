"""`dist pin`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import FILE, REFERENCE
from dist_tool.cli._options import Common, common_options, naming
from dist_tool.errors import InvalidArgument

if TYPE_CHECKING:
    from dist_tool.admin.pins import Pinned
    from dist_tool.run import Run
    from dist_tool.settings import Settings


@click.command("pin", epilog="Example: dist pin --check || dist pin redis:7")
@click.argument("references", metavar="[REFERENCE]...", nargs=-1, type=REFERENCE)
@click.option("--file", type=FILE, help="Write this configuration file instead of the user's.")
@click.option("--check", is_flag=True, help="Only compare pins with their tags; exit code 5 if a tag has moved.")
@common_options
def command(references: tuple[str, ...], file: str | None, check: bool, common: Common) -> int:
    """Record the digest that a tag points to, as a pin in the configuration.

    REFERENCE is NAME[:TAG], or NAME[:TAG]@DIGEST to pin the tag to that digest, which must exist.
    Prints NAME:TAG and the digest, one pin per line. Only the pin is changed in the file.

    With --check nothing is written. Each pin whose tag has moved is printed with the tag's new
    digest. Without a REFERENCE all pins are checked.
    """
    settings, run = common.begin()
    if check:
        return _check(references or tuple(settings.pins), settings, run)
    if not references:
        raise InvalidArgument("REFERENCE is missing", hint="give the tag to pin, as in dist pin redis:7")
    for text in references:
        _pin(_look_up(text, settings, run), file or _user_file(common), common)
    return 0


def _user_file(common: Common) -> str:
    from dist_tool.config import user_file

    return user_file(os.environ, common.config)


def _look_up(text: str, settings: Settings, run: Run) -> Pinned:
    from dist_tool.admin.pins import look_up

    reference = settings.reference(text)
    with naming(text, reference.locator, reference.object_id):
        return look_up(reference, settings, run)


def _pin(found: Pinned, file: str, common: Common) -> None:
    from dist_tool.cli._output import print_line
    from dist_tool.config.pinning import write_pin
    from dist_tool.run import Notice

    write_pin(file, found.name, found.now, os.environ)
    print_line(f"{found.name} {found.now}")
    if found.before not in (None, found.now):
        common.report(Notice("info", f"{found.name} was {found.before}"))
    effective = common.settings().pins.get(found.name)
    if effective is None:
        common.report(Notice("warning", f"{file} is not read as configuration: pass it with --config"))
    elif effective.digest != found.now:
        common.report(
            Notice("warning", f"{effective.where} takes precedence, and pins {found.name} to {effective.digest}")
        )


def _check(references: tuple[str, ...], settings: Settings, run: Run) -> int:
    from dist_tool.cli._output import print_line
    from dist_tool.errors import DigestMismatch

    moved = 0
    for text in references:
        found = _look_up(text, settings, run)
        if found.before is None:
            raise InvalidArgument(f"{found.name} is not pinned", hint=f"run dist pin {found.name}")
        if found.before != found.now:
            moved += 1
            print_line(f"{found.name} {found.before} {found.now}")
    if moved:
        raise DigestMismatch(f"{moved} of {len(references)} tags moved", hint="run dist pin NAME:TAG to update a pin")
    return 0
