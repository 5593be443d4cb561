"""Every failure that a user can meet, classified by what the user can do about it.

The class decides the exit code and the gRPC code; nobody matches messages. A bug is not a
`DistError`. docs/exit-codes.md is this module in prose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dist_tool.redaction import hide


def printable(text: str, limit: int = 1000) -> str:
    """`text` as one line that is safe to show: secrets hidden, control characters escaped, length bounded.

    Names, messages and annotations come from publishers and servers; a raw escape sequence in
    one of them could rewrite what the user believes to have read. Secrets go first: the half of
    one that a limit leaves would not be found any more.
    """
    return one_line(hide(text), limit)


def one_line(text: str, limit: int = 1000) -> str:
    """`printable` for a text that is shown by way of it again: secrets are left."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class RegistryError(NamedTuple):
    """One entry of a registry's error body (distribution-spec, "Error Codes")."""

    code: str
    message: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class DistError(Exception):
    """Base of all expected failures.

    `what` says what happened; `hint` what the user can do. The other facts are filled in by
    whoever knows them first, see `with_facts`. `retryable`: the same may do better next time;
    `elsewhere`: another place may, where there is one.
    """

    exit_code = 1
    grpc_code = "UNKNOWN"
    retryable = False
    elsewhere = True

    def __init__(
        self,
        what: str,
        *,
        hint: str = "",
        host: str = "",
        status: int | None = None,
        registry_errors: Sequence[RegistryError] = (),
        attempts: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.host = host
        self.status = status
        self.registry_errors = tuple(registry_errors)
        self.attempts = tuple(attempts)
        self.locator = ""
        self.object_id = ""

    def with_facts(self, *, locator: str = "", object_id: str = "") -> DistError:
        """Name the place and the object that failed, unless somebody closer has; returns self."""
        self.locator = self.locator or locator
        self.object_id = self.object_id or object_id
        return self

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self._subject(), self.what, self.hint) if part))

    def _subject(self) -> str:
        """The place and the object, less what the message begins with: it is said once."""
        if _begins(self.what, self.locator):
            return ""
        return " ".join(part for part in (self.locator, self.object_id) if part and not _begins(self.what, part))


def _begins(text: str, name: str) -> bool:
    return bool(name) and text.startswith(tuple(word + end for word in (name, repr(name)) for end in " :@"))


class InvalidArgument(DistError):
    """A locator, object, hint, option or configuration that cannot be used as given."""

    exit_code = 2
    grpc_code = "INVALID_ARGUMENT"


class NotFound(DistError):
    """The object, tag or platform is not there."""

    exit_code = 3
    grpc_code = "NOT_FOUND"


class Unauthenticated(DistError):
    """The other side wants credentials, or refused those it was given."""

    exit_code = 4
    grpc_code = "UNAUTHENTICATED"


class PermissionDenied(DistError):
    """The other side knows who asks and says no."""

    exit_code = 4
    grpc_code = "PERMISSION_DENIED"


class DataLoss(DistError):
    """What arrived is not what was asked for. Never retried."""

    exit_code = 5
    grpc_code = "DATA_LOSS"


class DigestMismatch(DataLoss):
    """The bytes do not have the digest that names them."""


class SizeMismatch(DataLoss):
    """The bytes are more or fewer than was declared."""


class UnexpectedSize(SizeMismatch):
    """The bytes have the right digest: it is the size that was expected that is wrong."""

    elsewhere = False


class LimitExceeded(DataLoss):
    """Content larger, deeper or more numerous than the limit in force."""

    elsewhere = False


class InvalidContent(DataLoss):
    """Intact bytes that must not be used: not what the type says, or unsafe."""


class BadManifest(InvalidContent):
    """A manifest or index that breaks the image-spec in a way that matters."""


class UnsafePath(InvalidContent):
    """A name in a layer or archive that must not reach the file system."""


class Unavailable(DistError):
    """No answer that can be used: refused, unreachable, timed out, cut."""

    exit_code = 6
    grpc_code = "UNAVAILABLE"
    retryable = True


class Truncated(Unavailable):
    """The connection ended before the object did."""


class Unreachable(Unavailable):
    """TLS verification failed or the name does not resolve: the same again next time."""

    retryable = False


class NotTls(Unreachable):
    """TLS was tried, and the other side speaks something else."""


# Nobody who finds it over knows which of them gave it.
TIME_IS_OVER = "the time given by --timeout, DIST_TIMEOUT or the configuration is over"


class DeadlineExceeded(Unavailable):
    """The time that the user gave (`--timeout`, DIST_TIMEOUT, `[fetch] timeout`) is over."""

    grpc_code = "DEADLINE_EXCEEDED"
    retryable = False
    elsewhere = False


class Cancelled(DistError):
    """The operation was cancelled by the program that runs it. What was written so far can be resumed."""

    exit_code = 130
    grpc_code = "CANCELLED"
    elsewhere = False


class RemoteFailed(DistError):
    """The other side answered, and the answer is a failure of its own.

    `retry_after` is what the server asked to wait, in seconds, where it did.
    """

    exit_code = 7
    grpc_code = "UNAVAILABLE"
    retry_after: float | None = None


class ServerError(RemoteFailed):
    """A status that asks for another try: 408, 5xx and their kin."""

    retryable = True


class ResourceExhausted(RemoteFailed):
    """Rate limited (429)."""

    grpc_code = "RESOURCE_EXHAUSTED"
    retryable = True


class ProtocolError(RemoteFailed):
    """An answer that the protocol does not allow."""

    grpc_code = "INTERNAL"


class NotHttp(ProtocolError):
    """HTTP was tried, and the other side speaks something else: TLS, perhaps."""


class Unsupported(DistError):
    """A thing that exists and that we, or the remote, cannot do."""

    exit_code = 8
    grpc_code = "UNIMPLEMENTED"


class NoDigest(Unsupported):
    """A remote that cannot say what the digest of a name is before it is read."""

    grpc_code = "FAILED_PRECONDITION"


class LocalFailure(DistError):
    """The local store, an output file or standard output failed."""

    exit_code = 9
    grpc_code = "FAILED_PRECONDITION"
    elsewhere = False


class Locked(LocalFailure):
    """Somebody else is writing the same thing."""

    grpc_code = "UNAVAILABLE"


class AlreadyExists(LocalFailure):
    """The content is there already. Success for whoever wanted it to be there."""

    grpc_code = "ALREADY_EXISTS"


class PolicyRefused(DistError):
    """Refused by a rule of the user's or by a safety rule: blocked, redirect, plain http."""

    exit_code = 10
    grpc_code = "FAILED_PRECONDITION"
