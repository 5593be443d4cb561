"""How `dist fetch` hands over what it fetched: options, and the checks on them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dist_tool.cli._completion import DIR, FILE
from dist_tool.cli._options import gathered
from dist_tool.errors import InvalidArgument

if TYPE_CHECKING:
    from dist_tool.stream.pump import Sink


class Delivery(NamedTuple):
    """The values of `delivery_options`: one object or many, and where the bytes go."""

    output: str | None
    verify: str
    many: bool
    null: bool
    jobs: int
    frame: bool
    into: str | None

    def open(self, stack: ExitStack) -> Sink:
        """The sink for bytes; a file appears under its name when `stack` ends well."""
        from dist_tool.cli._output import file_sink, stdout_sink

        if self.output is None or self.output == "-":
            return stdout_sink(force=self.output == "-")
        return stack.enter_context(file_sink(self.output))

    def check(self, object_id: str | None, words: tuple[str, ...]) -> Delivery:
        """These values, `many` settled. Raises InvalidArgument for what does not go together."""
        many = self.many or object_id == "-"
        if object_id is None and not many:
            raise InvalidArgument(
                "an OBJECT is missing", hint="a tag or a digest after the locator, or --stdin to read them"
            )
        if many and (object_id not in (None, "-") or [word for word in words if word != "-"]):
            raise InvalidArgument("--stdin reads objects and hints from standard input; give none as arguments")
        if not many and (self.null or self.frame or self.into is not None):
            raise InvalidArgument("-0, --frame and --into need --stdin")
        if self.into is not None and (self.frame or self.output is not None):
            raise InvalidArgument("--into does not go with --frame or --output")
        return self._replace(many=many)


def delivery_options(function: Any) -> Any:
    """-o, --verify, --stdin and its kin; the command gets `delivery`."""
    return gathered(function, "delivery", Delivery, _DELIVERY)


_DELIVERY = (
    click.option("-o", "--output", type=FILE, help="Write to FILE, which appears when verified; - is standard output."),
    click.option(
        "--verify",
        type=click.Choice(["stream", "before"]),
        default="stream",
        help="before: keep a temporary copy and write nothing until the whole is verified. Default: stream.",
    ),
    click.option("--stdin", "many", is_flag=True, help="Read lines OBJECT [HINT]...; - as OBJECT is the same."),
    click.option("-0", "--null", is_flag=True, help="With --stdin: lines end with NUL."),
    click.option("-j", "--jobs", type=click.IntRange(1, 64), default=4, help="With --stdin: objects at once (4)."),
    click.option("--frame", is_flag=True, help="With --stdin: DIGEST TYPE SIZE in a line before each object."),
    click.option("--into", type=DIR, help="With --stdin: one file a digest in DIR; prints the paths."),
)
