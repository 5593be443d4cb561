"""Types of words that the shell completes from the file system. Commands and options it learns from click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _OnDisk(click.types.StringParamType):
    """A path, taken as it is typed, but never empty. `name` is what the shell looks for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty word: most often it is a variable that is not set."""
        if value == "" and not _is_default(param, ctx):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Left to the shell, which does it as it does elsewhere."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.name)]


def _is_default(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    if param is None or param.name is None or ctx is None:
        return False
    return ctx.get_parameter_source(param.name) is click.core.ParameterSource.DEFAULT


class _Place(_OnDisk):
    """What may be a path; nobody can be asked for the names of registries here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Anything: the parser of references and locators checks it."""
        return click.types.StringParamType.convert(self, value, param, ctx)

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """A file, in what begins as a path."""
        from dist_tool.names.locator import is_path

        return super().shell_complete(ctx, param, incomplete) if is_path(incomplete) else []


FILE, DIR, PLACE = _OnDisk("file"), _OnDisk("dir"), _Place("file")
