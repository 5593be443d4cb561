"""Where keys, region and endpoint are found: as the AWS tools look, and never a silent guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from dist_tool.errors import InvalidArgument
from dist_tool.remotes.paths.aws import Profile
from dist_tool.remotes.paths.sigv4 import Keys

CREDENTIALS = """
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = default/secret%

[ci]
aws_access_key_id=AKIACI
aws_secret_access_key=ci/secret
aws_session_token=ci-token
"""
CONFIG = """
[default]
region = eu-central-1

[profile ci]
region = eu-west-1
endpoint_url = https://s3.ci.example

[profile sso]
sso_session = corp
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    return tmp_path


def profile(home: Path, **environ: str) -> Profile:
    return Profile({"HOME": str(home), **environ})


def test_without_credentials_requests_are_anonymous(tmp_path: Path) -> None:
    found = profile(tmp_path)
    assert (found.keys(), found.region(), found.endpoint()) == (None, "", "")


def test_the_default_profile(home: Path) -> None:
    found = profile(home)
    assert found.keys() == Keys("AKIADEFAULT", "default/secret%")
    assert (found.region(), found.endpoint()) == ("eu-central-1", "")


def test_a_named_profile_has_another_title_in_the_second_file(home: Path) -> None:
    found = profile(home, AWS_PROFILE="ci")
    assert found.keys() == Keys("AKIACI", "ci/secret", "ci-token")
    assert (found.region(), found.endpoint()) == ("eu-west-1", "https://s3.ci.example")


def test_the_environment_comes_first(home: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    environ |= {"AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL": "https://other.example"}
    found = profile(home, **environ)
    assert found.keys() == Keys("AKIAENV", "s", "t")
    assert (found.region(), found.endpoint()) == ("us-west-2", "https://other.example")
    assert profile(home, **environ, AWS_ENDPOINT_URL_S3="https://s3.example").endpoint() == "https://s3.example"


def test_the_environment_selects_the_credential_files(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.write_text("[default]\naws_access_key_id=AKIAOTHER\naws_secret_access_key=s\n")
    found = profile(home, AWS_SHARED_CREDENTIALS_FILE=str(other), AWS_CONFIG_FILE=str(other)).keys()
    assert found is not None
    assert (found.access_key, found.source) == ("AKIAOTHER", f"{other} [default]")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIA"}, "the secret of the AWS access key in the environment is missing"),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, "the id of the AWS access key in the environment is missing"),
        ({"AWS_PROFILE": "nosuch"}, "AWS_PROFILE names 'nosuch', which is in neither of the AWS files"),
        ({"AWS_PROFILE": "sso"}, r"\[profile sso\] has sso_session, which is not supported"),
    ],
)
def test_an_incomplete_key_and_an_unknown_profile_are_errors(home: Path, environ: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        profile(home, **environ).keys()


@pytest.mark.parametrize("text", ["aws_secret_access_key = my-secret", "[default\nx", "[default]\nmy-secret", "\xff"])
def test_the_error_of_a_malformed_file_does_not_quote_it(home: Path, text: str) -> None:
    (home / ".aws" / "credentials").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidArgument, match=r"\.aws/credentials") as caught:
        profile(home).keys()
    assert "my-secret" not in str(caught.value)
