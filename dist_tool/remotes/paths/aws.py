"""AWS settings: access key, region and endpoint, from the environment, then from the two shared files.

Identity services, `credential_process` and SSO logins are not supported:
`aws configure export-credentials --format env` writes their keys as the variables that are read here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError

from dist_tool.errors import InvalidArgument
from dist_tool.remotes.paths.sigv4 import Keys

_FILE_LIMIT = 1 << 20  # bytes
_UNSUPPORTED = ("credential_process", "sso_session", "sso_start_url", "role_arn", "web_identity_token_file")


class Profile:
    """Settings from the environment and the selected profile. Files are read only when they are needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
        self._sections: dict[str, Mapping[str, str]] = {}

    def keys(self) -> Keys | None:
        """The access key, None for anonymous requests.

        Raises InvalidArgument for a key without its id or secret, a profile that needs a login or
        does not exist, and invalid files.
        """
        environ = self._environ
        if environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_SECRET_ACCESS_KEY"):
            return _keys(
                environ.get("AWS_ACCESS_KEY_ID"),
                environ.get("AWS_SECRET_ACCESS_KEY"),
                environ.get("AWS_SESSION_TOKEN"),
                "the environment",
            )
        for path, section in self._sources():
            values = self._section(path, section)
            if values.get("aws_access_key_id") or values.get("aws_secret_access_key"):
                return _keys(
                    values.get("aws_access_key_id"),
                    values.get("aws_secret_access_key"),
                    values.get("aws_session_token"),
                    f"{path} [{section}]",
                )
            found = next((key for key in _UNSUPPORTED if key in values), None)
            if found is not None:
                raise InvalidArgument(
                    f"{path} [{section}] has {found}, which is not supported",
                    hint='eval "$(aws configure export-credentials --format env)" puts the keys into the environment',
                )
        if environ.get("AWS_PROFILE") and not any(self._section(*source) for source in self._sources()):
            raise InvalidArgument(f"AWS_PROFILE names {self.name!r}, which is in neither of the AWS files")
        return None

    def region(self) -> str:
        """The region, "" if none is set."""
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            if found := self._environ.get(name):
                return found
        return self._setting("region")

    def endpoint(self) -> str:
        """The URL of an S3-compatible service, "" for AWS itself."""
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            if found := self._environ.get(name):
                return found
        return self._setting("endpoint_url")

    def _setting(self, name: str) -> str:
        sources = reversed(self._sources())
        return next((value for source in sources if (value := self._section(*source).get(name))), "")

    def _sources(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The credentials file and the config file, each with the profile's section.

        In the config file, every section but the default's is named `profile NAME`.
        """
        environ = self._environ
        directory = os.path.join(environ.get("HOME", ""), ".aws")
        credentials = environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join(directory, "credentials")
        config = environ.get("AWS_CONFIG_FILE") or os.path.join(directory, "config")
        section = self.name if self.name == "default" else f"profile {self.name}"
        return (credentials, self.name), (config, section)

    def _section(self, path: str, section: str) -> Mapping[str, str]:
        if path not in self._sections:
            self._sections[path] = _read(path, section)
        return self._sections[path]


def _keys(access_key: str | None, secret_key: str | None, token: str | None, source: str) -> Keys:
    if not access_key or not secret_key:
        missing = "the secret" if access_key else "the id"
        raise InvalidArgument(f"{missing} of the AWS access key in {source} is missing")
    return Keys(access_key.strip(), secret_key.strip(), (token or "").strip(), source)


def _read(path: str, section: str) -> Mapping[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from error
    parser = ConfigParser(interpolation=None, default_section="\0", strict=False)
    try:
        parser.read_string(text)
    except ConfigError as error:  # its text quotes the line, which may be a secret
        raise InvalidArgument(f"{path} is not a valid AWS settings file", hint=f"line {_line(error)}") from None
    return dict(parser[section]) if section in parser else {}


def _line(error: ConfigError) -> str:
    number = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
    return str(number or "unknown")
