"""A real S3 server, moto's, in a process of its own."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dist_tool.remotes.paths.sigv4 import Keys, sign
from support.processes import require_program, running

_LISTENING = re.compile(r"Running on http://(127\.0\.0\.1:[0-9]+)")
KEYS = Keys("AKIATESTTESTTESTTEST", "secret/of+the/tests")
ENVIRON = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key}


class S3(NamedTuple):
    """A running server. `host` is HOST:PORT."""

    host: str

    def request(self, method: str, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """One request by the standard library: it must succeed."""
        request = urllib.request.Request(f"http://{self.host}{path}", data or None, dict(headers or {}), method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            content: bytes = answer.read()
            return content

    def put(self, bucket: str, key: str, data: bytes, *, public: bool = False) -> None:
        """Store an object; a `public` one may be read without a key."""
        headers = {"Content-Type": "application/octet-stream", "x-amz-acl": "public-read" if public else "private"}
        signed = sign("PUT", f"http://{self.host}/{bucket}/{key}", KEYS, "us-east-1", 0)  # only looked at on demand
        self.request("PUT", f"/{bucket}/{key}", data, {**headers, **signed})

    def create(self, bucket: str) -> None:
        self.request("PUT", f"/{bucket}")

    def clear(self) -> None:
        """Forget everything."""
        self.request("POST", "/moto-api/reset")

    def demand_signatures(self) -> Keys:
        """From now on every request must be signed, by the key that is returned: an administrator's."""
        from xml.etree import ElementTree

        def iam(action: str, **fields: str) -> ElementTree.Element:
            from urllib.parse import urlencode

            form = urlencode({"Action": action, "Version": "2010-05-08", **fields}).encode()
            scope = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=x"
            headers = {"Authorization": scope, "Content-Type": "application/x-www-form-urlencoded"}
            return ElementTree.fromstring(self.request("POST", "/", form, headers))

        iam("CreateUser", UserName="tester")
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam("PutUserPolicy", UserName="tester", PolicyName="all", PolicyDocument=policy)
        made = {
            element.tag.rpartition("}")[2]: element.text or ""
            for element in iam("CreateAccessKey", UserName="tester").iter()
        }
        self.request("POST", "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        return Keys(made["AccessKeyId"], made["SecretAccessKey"], source="the test")

    def demand_nothing(self, keys: Keys) -> None:
        """Take unsigned requests again."""
        signed = sign("POST", f"http://{self.host}/moto-api/reset-auth", keys, "us-east-1", 0)
        self.request("POST", "/moto-api/reset-auth", b"inf", {**signed, "Content-Type": "text/plain"})


@contextmanager
def s3_server(directory: Path) -> Iterator[S3]:
    """Run moto_server on a free port of 127.0.0.1."""
    program, log = require_program("moto_server"), directory / "s3.log"
    with running([program, "-H", "127.0.0.1", "-p", "0"], log, lambda text: bool(_LISTENING.search(text))):
        listening = _LISTENING.search(log.read_text())
        assert listening is not None
        yield S3(listening[1])
