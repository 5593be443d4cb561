"""`dist pin`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import FILE, PLACE
from dist_tool.cli._options import Common, common_options, naming
from dist_tool.errors import InvalidArgument

if TYPE_CHECKING:
    from dist_tool.admin.pins import Pinned
    from dist_tool.run import Run
    from dist_tool.settings import Settings


@click.command("pin", epilog="Example: dist pin --check || dist pin redis:7")
@click.argument("references", metavar="[REFERENCE]...", nargs=-1, type=PLACE)
@click.option("--file", type=FILE, help="Write this configuration file instead of the user's own.")
@click.option("--check", is_flag=True, help="Only compare pins with what their tags mean now; 5 where one has moved.")
@common_options
def command(references: tuple[str, ...], file: str | None, check: bool, common: Common) -> int:
    """Ask what a tag means now, and write it to the configuration as its pin.

    REFERENCE is NAME[:TAG]; with @DIGEST it is pinned to that, which must be there. Standard
    output has NAME:TAG and the digest, one pin a line. Of the file, only the pin changes.

    With --check nothing is written, and each pin that does not hold is printed with what its
    tag means now; without a REFERENCE that is all pins.
    """
    settings, run = common.begin()
    if check:
        return _check(references or tuple(settings.pins), settings, run)
    if not references:
        raise InvalidArgument("there is nothing to pin", hint="give a REFERENCE, as in dist pin redis:7")
    for text in references:
        _pin(_looked_up(text, settings, run), file or _user_file(common), common)
    return 0


def _user_file(common: Common) -> str:
    from dist_tool.config import user_file

    return user_file(os.environ, common.config)


def _looked_up(text: str, settings: Settings, run: Run) -> Pinned:
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
        common.report(Notice("warning", f"{file} is not read as configuration: give it as --config"))
    elif effective.digest != found.now:
        common.report(Notice("warning", f"{effective.where} is read later, and pins {found.name} otherwise"))


def _check(references: tuple[str, ...], settings: Settings, run: Run) -> int:
    from dist_tool.cli._output import print_line
    from dist_tool.errors import DigestMismatch

    moved = 0
    for text in references:
        found = _looked_up(text, settings, run)
        if found.before is None:
            raise InvalidArgument(f"{found.name} is not pinned", hint=f"dist pin {found.name} does it")
        if found.before != found.now:
            moved += 1
            print_line(f"{found.name} {found.before} {found.now}")
    if moved:
        raise DigestMismatch(f"pins that do not hold: {moved} of {len(references)}", hint="dist pin NAME:TAG pins anew")
    return 0
