"""A clock, a key and tokens, for tests of the token cache."""

from __future__ import annotations

from pathlib import Path

from dist_tool.auth.token_cache import AccessToken, TokenCache, TokenKey

KEY = TokenKey("https://registry.test", "registry.test", ("repository:a:pull",), b"somebody")
NOW = 1_700_000_000.0
SECRET = "t0ken-s3cret"


def token(value: str = SECRET, expires_at: float = NOW + 300) -> AccessToken:
    return AccessToken(value, expires_at, "https://auth.test/token", "registry", ("repository:a:pull",))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def files(directory: Path, prefix: str = "token-") -> list[Path]:
    return [path for path in directory.iterdir() if path.name.startswith(prefix)]


def fill(cache: TokenCache, key: TokenKey = KEY, value: AccessToken | None = None) -> None:
    chosen = value or token()
    assert cache.obtain(key, lambda known: known == chosen, lambda: chosen) == (chosen, True)
