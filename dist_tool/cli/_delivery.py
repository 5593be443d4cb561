"""Output options of `dist fetch`, and their validation."""

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
    """Values of `delivery_options`: one object or many, and the destination of the bytes."""

    output: str | None
    verify: str
    many: bool
    null: bool
    jobs: int
    frame: bool
    into: str | None

    def open(self, stack: ExitStack) -> Sink:
        """The sink for bytes. An output file appears under its name when `stack` exits without an exception."""
        from dist_tool.cli._output import file_sink, stdout_sink

        if self.output is None or self.output == "-":
            return stdout_sink(force=self.output == "-")
        return stack.enter_context(file_sink(self.output))

    def check(self, object_id: str | None, words: tuple[str, ...]) -> Delivery:
        """Return the values, with `many` determined. Raises InvalidArgument for contradicting arguments."""
        many = self.many or object_id == "-"
        if object_id is None and not many:
            raise InvalidArgument(
                "OBJECT is missing", hint="give a tag or a digest after the locator, or --stdin to read objects"
            )
        if many and (object_id not in (None, "-") or [hint for hint in words if hint != "-"]):
            raise InvalidArgument("--stdin reads objects and hints from standard input; give none as arguments")
        if not many and (self.null or self.frame or self.into is not None):
            raise InvalidArgument("-0, --frame and --into need --stdin")
        if self.into is not None and (self.frame or self.output is not None):
            raise InvalidArgument("--into cannot be combined with --frame or --output")
        return self._replace(many=many)


def delivery_options(function: Any) -> Any:
    """Add -o, --verify, --stdin and the options of --stdin; the command gets `delivery`."""
    return gathered(function, "delivery", Delivery, _DELIVERY)


_DELIVERY = (
    click.option("-o", "--output", type=FILE, help="Write to FILE, which appears once verified; - is standard output."),
    click.option(
        "--verify",
        type=click.Choice(["stream", "before"]),
        default="stream",
        help="before: write nothing until the whole object is verified, using a temporary copy. Default: stream.",
    ),
    click.option(
        "--stdin",
        "many",
        is_flag=True,
        help="Read lines OBJECT [HINT]... from standard input; - as OBJECT is the same.",
    ),
    click.option("-0", "--null", is_flag=True, help="With --stdin: lines end with NUL."),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 64),
        default=4,
        help="With --stdin: number of parallel fetches. Default: 4.",
    ),
    click.option("--frame", is_flag=True, help="With --stdin: write a line DIGEST TYPE SIZE before each object."),
    click.option("--into", type=DIR, help="With --stdin: write one file per digest to DIR, and print the paths."),
)
