"""Reading of configuration files, with a size limit."""

from __future__ import annotations

from dist_tool.errors import InvalidArgument

LARGEST_FILE = 1 << 20  # bytes


def read_file(name: str, *, optional: bool = False, hint: str = "") -> bytes | None:
    """The content of a file; None if it is `optional` and does not exist.

    Raises InvalidArgument for a file that cannot be read or is larger than LARGEST_FILE.
    """
    try:
        # Not `open_regular`: --config also accepts pipes, such as process substitutions.
        with open(name, "rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and optional:
            return None
        raise InvalidArgument(f"{name}: {error.strerror}", hint=hint) from error
    if len(data) > LARGEST_FILE:
        raise InvalidArgument(f"{name}: the configuration file is larger than {LARGEST_FILE >> 20} MiB")
    return data
