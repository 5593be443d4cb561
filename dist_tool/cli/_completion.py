"""Parameter types that the shell completes from the file system. click completes commands and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Path(click.types.StringParamType):
    """A path, used as typed, never empty. `name` is `file` or `dir`, the kind that the shell completes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty argument, which is usually an unset variable."""
        if value == "" and not _is_default(param, ctx):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Use the shell's own completion of paths."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.name)]


def _is_default(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    if param is None or param.name is None or ctx is None:
        return False
    return ctx.get_parameter_source(param.name) is click.core.ParameterSource.DEFAULT


class _Reference(_Path):
    """A reference or locator, which may be a path. Names in registries are not completed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Accept any text: the parser of references and locators validates it."""
        return click.types.StringParamType.convert(self, value, param, ctx)

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Complete a path if the text begins like one."""
        from dist_tool.names.locator import is_path

        return super().shell_complete(ctx, param, incomplete) if is_path(incomplete) else []


FILE, DIR, REFERENCE = _Path("file"), _Path("dir"), _Reference("file")
