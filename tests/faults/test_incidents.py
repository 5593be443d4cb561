"""What went wrong in this field while reading, one test for each incident (docs/security.md, 2.1, 2.2, 2.4).

Over every kind that speaks HTTP where the incident is one of HTTP alone; over registries where it is one of tokens,
manifests, foreign layers or lists, which the others do not have.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from support import faults
from support.content import Blob, blob, flip, image, to_json
from support.faults import blob_path, content, manifest_path, redirect
from support.fetching import Outcome, docker_config, fetch, with_environment
from support.kinds import KINDS, PASSWORD, REPOSITORY, TOKEN, Kind, login
from support.processes import Authority, run_dist
from support.repositories import opened as open_remote
from support.routes import route
from support.server import FaultServer, OpenServer, Step, closed_port

from dist_tool import errors
from dist_tool.api import Listable, Referring
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.settings import Endpoint, Route, Settings, Tls

SCOPE = f"repository:{REPOSITORY}:pull"
BLOB = blob("incidents", 5000)
PATH = blob_path(REPOSITORY, BLOB.digest)
IMAGE = image("incidents")
TAG = manifest_path(REPOSITORY, "v1")
SECRET = "correct-horse-battery-staple"
PUBLIC = Endpoint(plain_http=True)
ENOUGH = 32 << 20  # bytes: more than a limit, and more than the buffers of two sockets
BOMB = faults.status(
    200,
    body=gzip.compress(bytes(64 << 20)),
    headers=[("Content-Encoding", "gzip"), ("Content-Type", IMAGE.manifest.media_type)],
)
ENDLESS = faults.endless_body(headers=[("Content-Type", IMAGE.manifest.media_type)], most=ENOUGH)


def _place(server: FaultServer, name: str = "127.0.0.1") -> str:
    return f"{name}:{server.port}/{REPOSITORY}"


def _tags(server: FaultServer) -> list[str]:
    with open_remote(_place(server), Settings()) as remote:
        assert isinstance(remote, Listable)
        return list(remote.tags())


def _login(tmp_path: Path, *hosts: str, token_cache: str = "") -> Settings:
    """Settings with a password for each of `hosts`."""
    (tmp_path / "config.json").write_text(docker_config(dict.fromkeys(hosts, f"me:{SECRET}")))
    return Settings(environ={"DOCKER_CONFIG": str(tmp_path)}, cache_dir=token_cache)


def _with_tokens(server: FaultServer, step: Step, *, realm: str = "") -> faults.TokenServer:
    tokens = faults.TokenServer(realm or server.url("/token"), SCOPE, prefix=SECRET)
    server.always("GET", "/token", tokens.issue)
    server.always("GET", PATH, tokens.protect(step))
    return tokens


class TestWhereCredentialsGo:
    """Security 2.1."""

    def test_cve_2020_15157_a_foreign_layer_host_that_asks_gets_nothing(
        self, servers: OpenServer, tmp_path: Path
    ) -> None:
        registry, foreign = servers(), servers()
        challenges = [
            ("WWW-Authenticate", 'Basic realm="x"'),
            ("WWW-Authenticate", f'Bearer realm="{foreign.url("/t")}"'),
        ]
        foreign.always("GET", "/layer", faults.status(401, headers=challenges))
        for place in ("blobs", "manifests"):
            registry.always(
                "GET", f"/v2/{REPOSITORY}/{place}/{BLOB.digest}", faults.registry_error(404, "BLOB_UNKNOWN")
            )
        desc = Descriptor(BLOB.digest, len(BLOB.data), urls=(foreign.url("/layer"),))
        settings = _login(tmp_path, registry.host, foreign.host)
        with open_remote(_place(registry), settings) as remote, pytest.raises(errors.Unauthenticated):
            remote.open(desc)
        assert [request.header("authorization") for request in foreign.log] == [""]

    def test_a_foreign_layer_is_fetched_where_it_is_public(self, servers: OpenServer) -> None:
        """So that the refusals beside this are about more than doing nothing."""
        registry, foreign = servers(), servers()
        foreign.script("GET", "/gone", faults.status(404))
        foreign.script("GET", "/layer", content(BLOB.data))
        for place in ("blobs", "manifests"):
            registry.script("GET", f"/v2/{REPOSITORY}/{place}/{BLOB.digest}", faults.status(404))
        desc = Descriptor(BLOB.digest, len(BLOB.data), urls=(foreign.url("/gone"), foreign.url("/layer")))
        with open_remote(_place(registry), Settings()) as remote:
            body = remote.open(desc)
            view = memoryview(bytearray(10_000))
            filled = 0
            while got := body.readinto(view[filled:]):  # type: ignore[union-attr]
                filled += got
            body.close()
        assert bytes(view[:filled]) == BLOB.data

    def test_ggcr_2293_a_foreign_layer_at_an_internal_address_is_not_fetched(self, servers: OpenServer) -> None:
        registry, internal = servers(), servers()
        for place in ("blobs", "manifests"):
            registry.script("GET", f"/v2/{REPOSITORY}/{place}/{BLOB.digest}", faults.status(404))
        desc = Descriptor(BLOB.digest, len(BLOB.data), urls=(internal.url("/latest/meta-data"),))
        settings = Settings(routes=(route(f"registry.test:{registry.port}", plain_http=True),))
        with open_remote(_place(registry, "registry.test"), settings) as remote, pytest.raises(errors.PolicyRefused):
            remote.open(desc)
        assert internal.connections == 0

    @pytest.mark.parametrize(
        "form",
        [
            "http://{host}\\@cdn.test/x",
            "http://cdn.test@{host}/x",
            "http://{host}\\.cdn.test/",
            "http://{host} @cdn.test",
        ],
    )
    def test_url_of_a_layer_that_two_parsers_read_differently_is_not_fetched(
        self, servers: OpenServer, form: str
    ) -> None:
        """The host that is checked must be the one that is connected to."""
        registry, internal = servers(), servers()
        for place in ("blobs", "manifests"):
            registry.script("GET", f"/v2/{REPOSITORY}/{place}/{BLOB.digest}", faults.status(404))
        desc = Descriptor(BLOB.digest, len(BLOB.data), urls=(form.format(host=internal.host),))
        settings = Settings(routes=(route(f"registry.test:{registry.port}", plain_http=True),))
        with open_remote(_place(registry, "registry.test"), settings) as remote, pytest.raises(errors.ProtocolError):
            remote.open(desc)
        assert internal.connections == 0

    def test_cve_2018_18074_a_password_does_not_go_from_https_to_http_of_the_same_host(
        self, servers: OpenServer, authority: Authority, tmp_path: Path
    ) -> None:
        secure, plain = servers(tls=authority.server_context()), servers()
        basic = faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])
        secure.script("GET", PATH, basic, redirect(plain.url("/blob", name="registry.test")))
        place = _place(secure, "registry.test")
        outcome = fetch(
            place,
            BLOB.digest,
            remote=Endpoint(tls=Tls(ca=(authority.ca,))),
            settings=_login(tmp_path, f"registry.test:{secure.port}"),
        )
        assert isinstance(outcome.error, errors.PolicyRefused)
        assert secure.log[1].header("authorization").startswith("Basic ")
        assert plain.connections == 0

    def test_cve_2023_32681_the_proxys_password_stays_with_the_proxy(self, kind: Kind, servers: OpenServer) -> None:
        """And CVE-2024-37891."""
        proxy, cdn = servers(), servers()
        proxy.script("GET", f"http://registry.invalid{PATH}", redirect(cdn.url("/blob")))
        cdn.script("GET", "/blob", content(BLOB.data))
        remote = Endpoint(plain_http=True, proxy=f"http://me:{SECRET}@{proxy.host}")
        remote = _allowing_private(remote)
        assert fetch(kind.at(proxy, "registry.invalid"), BLOB.digest, remote=remote).data == BLOB.data
        assert proxy.log[0].header("proxy-authorization").startswith("Basic ")
        assert "proxy-authorization" not in str(cdn.log).lower()

    def test_ghsa_qccp_a_proxy_shared_by_two_origins_mixes_nothing(self, servers: OpenServer) -> None:
        proxy = servers()
        tokens = faults.TokenServer("http://registry.invalid/token", SCOPE)
        proxy.script("GET", "http://registry.invalid/token", tokens.issue)
        proxy.always("GET", f"http://registry.invalid{PATH}", tokens.protect(redirect("http://cdn.invalid/blob")))
        proxy.script("GET", "http://cdn.invalid/blob", content(BLOB.data))
        remote = Endpoint(plain_http=True, proxy=proxy.url(), header={"x-tenant": SECRET})
        assert fetch(f"registry.invalid/{REPOSITORY}", BLOB.digest, remote=remote).data == BLOB.data
        (seen,) = proxy.requests("GET", "http://cdn.invalid/blob")
        assert (seen.header("authorization"), seen.header("x-tenant")) == ("", "")

    def test_cve_2024_47081_a_url_made_to_look_like_the_registrys_gets_no_login(
        self, servers: OpenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry, evil = servers(), servers()
        (tmp_path / "netrc").write_text(f"machine registry.test login me password {SECRET}\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        registry.script("GET", PATH, redirect(evil.url("/blob").replace("://", "://registry.test:x@")))
        evil.script("GET", "/blob", content(BLOB.data))
        fetch(_place(registry), BLOB.digest, settings=_login(tmp_path, registry.host))
        assert evil.log[0].header("authorization") == ""

    def test_cve_2022_27774_another_port_is_another_place(self, kind: Kind, servers: OpenServer) -> None:
        """And CVE-2022-27776."""
        registry, other = servers(), servers()
        registry.always("GET", PATH, kind.lock(registry, redirect(other.url("/blob"))))
        other.script("GET", "/blob", content(BLOB.data))
        assert fetch(kind.at(registry), BLOB.digest, settings=login(registry.host, other.host)).data == BLOB.data
        assert registry.log[-1].header("authorization")
        assert [other.log[0].header(name) for name in ("authorization", "x-amz-security-token")] == ["", ""]

    def test_ghsa_whvf_a_header_of_ours_goes_to_no_realm(self, servers: OpenServer) -> None:
        registry, realm = servers(), servers()
        tokens = faults.TokenServer(realm.url("/token"), SCOPE)
        realm.script("GET", "/token", tokens.issue)
        registry.always("GET", PATH, tokens.protect(content(BLOB.data)))
        outcome = fetch(_place(registry), BLOB.digest, remote=Endpoint(header={"x-tenant": SECRET}))
        assert outcome.data == BLOB.data
        assert SECRET not in str(realm.log)

    def test_ghsa_h3wm_a_client_certificate_is_shown_to_its_registry_only(
        self, servers: OpenServer, authority: Authority
    ) -> None:
        context = authority.server_context(ask_client=True)
        registry, realm, cdn = (servers(tls=context) for _ in range(3))
        tokens = faults.TokenServer(realm.url("/token", name="auth.test"), SCOPE)
        realm.script("GET", "/token", tokens.issue)
        registry.always("GET", PATH, tokens.protect(redirect(cdn.url("/blob", name="cdn.test"))))
        cdn.script("GET", "/blob", content(BLOB.data))
        tls = Tls(ca=(authority.ca,), client=(authority.issue("client"),))
        outcome = fetch(_place(registry, "registry.test"), BLOB.digest, remote=Endpoint(tls=tls))
        assert outcome.data == BLOB.data
        assert {request.certificate for request in registry.log} == {"client"}
        assert {request.certificate for request in (*realm.log, *cdn.log)} == {""}

    def test_ghsa_h3wm_nor_is_it_to_whom_a_tree_redirects(
        self, tree: Kind, servers: OpenServer, authority: Authority
    ) -> None:
        context = authority.server_context(ask_client=True)
        front, cdn = servers(tls=context), servers(tls=context)
        front.script("GET", PATH, redirect(cdn.url("/blob", name="cdn.test")))
        cdn.script("GET", "/blob", content(BLOB.data))
        remote = Endpoint(tls=Tls(ca=(authority.ca,), client=(authority.issue("client"),)))
        assert fetch(tree.at(front, f"registry.test:{front.port}"), BLOB.digest, remote=remote).data == BLOB.data
        assert [front.log[0].certificate, cdn.log[0].certificate] == ["client", ""]

    def test_ghsa_5jhf_debug_output_holds_no_token_and_no_signature(self, kind: Kind, servers: OpenServer) -> None:
        front, cdn = servers(), servers()
        front.always("GET", PATH, kind.lock(front, redirect(cdn.url(f"/blob?X-Amz-Signature={SECRET}"))))
        cdn.script("GET", "/blob", content(BLOB.data))
        outcome = fetch(kind.at(front), BLOB.digest, settings=login(front.host))
        assert outcome.data == BLOB.data
        assert any(notice.level == "debug" for notice in outcome.notices)
        assert not [secret for secret in (SECRET, PASSWORD, TOKEN) if secret in outcome.said]

    @pytest.mark.parametrize("end", ["refused", "reset", "silence", "404", "no URL", "not followed"])
    def test_ggcr_1408_no_error_shows_a_signed_url(self, kind: Kind, servers: OpenServer, end: str) -> None:
        registry, cdn = servers(), servers()
        query = f"/blob?sig={SECRET}&X-Amz-Credential={SECRET}"
        target = {
            "refused": f"http://127.0.0.1:{closed_port()}{query}",
            "no URL": f"http://cdn .test{query}",
            "not followed": f"ftp://cdn.test{query}",
        }.get(end, cdn.url(query))
        registry.always("GET", PATH, redirect(target))
        ends: dict[str, Step] = {"reset": faults.reset, "silence": faults.hang_up, "404": faults.status(404)}
        if end in ends:
            cdn.always("GET", "/blob", ends[end])
        registry.always("GET", manifest_path(REPOSITORY, BLOB.digest), faults.status(404))
        outcome = fetch(kind.at(registry), BLOB.digest)
        assert outcome.error is not None
        assert SECRET not in outcome.said

    def test_ggcr_2337_a_challenge_from_elsewhere_brings_no_token_back(self, servers: OpenServer) -> None:
        """The fix of it re-attached the token (#2349)."""
        registry, cdn = servers(), servers()
        _with_tokens(registry, redirect(cdn.url("/blob")))
        cdn.always("GET", "/blob", faults.challenge(registry.url("/token"), SCOPE))
        assert fetch(_place(registry), BLOB.digest).code == 4
        assert SECRET not in str(cdn.log)

    @pytest.mark.parametrize("asked", ["registry", "http"])  # a web server may name a token server as well
    @pytest.mark.parametrize("where", ["to http", "to loopback", "to link-local", "no http", "userinfo", "by redirect"])
    def test_ggcr_2243_a_realm_may_not_be_anywhere(
        self, servers: OpenServer, authority: Authority, tmp_path: Path, asked: str, where: str
    ) -> None:
        """And #2285, #2292, #2302; regclient 39de02d, 1a80807."""
        registry, auth, evil = (
            servers(tls=authority.server_context()),
            servers(tls=authority.server_context()),
            servers(),
        )
        realm = {
            "to http": evil.url("/token", name="auth.test"),
            "to loopback": f"https://127.0.0.1:{evil.port}/token",
            "to link-local": f"https://169.254.169.254:{evil.port}/token",
            "no http": "file:///etc/passwd",
            "userinfo": f"https://auth.test@127.0.0.1:{evil.port}/token",
            "by redirect": auth.url("/token", name="auth.test"),
        }[where]
        if where == "by redirect":
            auth.always("GET", "/token", redirect(evil.url("/token")))
        registry.script("GET", PATH, faults.challenge(realm, SCOPE))
        outcome = fetch(
            KINDS[asked].at(registry, f"registry.test:{registry.port}"),
            BLOB.digest,
            remote=Endpoint(tls=Tls(ca=(authority.ca,))),
            settings=_login(tmp_path, f"registry.test:{registry.port}"),
        )
        assert outcome.code in (7, 10)
        assert evil.connections == 0

    def test_distribution_2026_a_password_goes_to_no_realm_that_a_plain_registry_names(
        self, servers: OpenServer, tmp_path: Path
    ) -> None:
        """cc5d5fa4b: whoever is on the way could have named it."""
        registry, evil = servers(), servers()
        registry.script("GET", PATH, faults.challenge(evil.url("/token", name="auth.test"), SCOPE))
        outcome = fetch(
            _place(registry, "registry.test"),
            BLOB.digest,
            remote=PUBLIC,
            settings=_login(tmp_path, f"registry.test:{registry.port}"),
        )
        assert isinstance(outcome.error, errors.PolicyRefused)
        assert SECRET not in str(evil.log)

    @pytest.mark.parametrize("target", ["another host", "another port", "another scheme"])
    def test_ghsa_h7vf_the_next_page_is_not_fetched_from_elsewhere(self, servers: OpenServer, target: str) -> None:
        """And ggcr #2332."""
        registry, evil = servers(), servers()
        following = {
            "another host": evil.url("/next", name="other.test"),
            "another port": evil.url("/next"),
            "another scheme": registry.url(f"/v2/{REPOSITORY}/tags/list?last=a").replace("http:", "https:"),
        }[target]
        page = faults.json_answer({"tags": ["a"]}, headers=[("Link", f'<{following}>; rel="next"')])
        registry.script("GET", f"/v2/{REPOSITORY}/tags/list", page)
        with pytest.raises(errors.ProtocolError, match="outside the repository"):
            _tags(registry)
        assert evil.connections == 0

    def test_cve_2025_50181_the_library_follows_nothing_by_itself(self, servers: OpenServer) -> None:
        from dist_tool.settings import Endpoint, Redirects

        registry, cdn = servers(), servers()
        registry.script("GET", PATH, redirect(cdn.url("/blob")))
        remote = Endpoint(redirect=Redirects(max_hops=0))
        assert fetch(_place(registry), BLOB.digest, remote=remote).code == 7
        assert cdn.connections == 0


def _allowing_private(remote: Route) -> Route:
    from dataclasses import replace

    return replace(remote, redirect=replace(remote.redirect, allow_private=True))


class TestWhatIsBelieved:
    """Security 2.2."""

    @pytest.mark.parametrize(
        "claimed", ["sha256:../../../etc/passwd", "sha256:", "../x", "sha256:" + "/" * 64, "x" * 5000]
    )
    def test_cve_2024_3727_a_digest_from_a_header_is_read_before_it_is_used(
        self, server: FaultServer, claimed: str
    ) -> None:
        server.script("GET", TAG, content(IMAGE.manifest.data, IMAGE.manifest.media_type, digest=claimed))
        outcome = fetch(_place(server), "v1")
        assert outcome.data == IMAGE.manifest.data
        assert outcome.desc is not None
        assert outcome.desc.digest == IMAGE.manifest.digest

    @pytest.mark.parametrize("declared", ["manifest", "index", ""])
    def test_cve_2021_41190_a_tag_that_is_manifest_and_index_at_once(self, server: FaultServer, declared: str) -> None:
        both = to_json(
            {
                "schemaVersion": 2,
                "config": IMAGE.config.descriptor.to_json(),
                "layers": [],
                "manifests": [IMAGE.manifest.descriptor.to_json()],
            }
        )
        media_type = f"application/vnd.oci.image.{declared}.v1+json" if declared else "application/json"
        server.script("GET", TAG, content(both, media_type))
        outcome = fetch(_place(server), "v1")
        assert isinstance(outcome.error, errors.BadManifest)
        assert outcome.data == b""

    def test_a_content_type_that_contradicts_the_document_is_refused(self, server: FaultServer) -> None:
        server.script("GET", TAG, content(IMAGE.manifest.data, "application/vnd.oci.image.index.v1+json"))
        assert isinstance(fetch(_place(server), "v1").error, errors.BadManifest)

    def test_umoci_360_bytes_behind_a_gzip_stream_are_hashed_too(self, server: FaultServer) -> None:
        layer = Blob(gzip.compress(b"content", mtime=0) + b"trailing bytes")
        path = blob_path(REPOSITORY, layer.digest)
        server.script("GET", path, content(flip(layer.data, 8 * len(layer.data) - 1)), content(layer.data))
        assert isinstance(fetch(_place(server), layer.digest).error, errors.DigestMismatch)
        assert fetch(_place(server), layer.digest).data == layer.data

    def test_regclient_798_the_users_digest_counts_not_the_servers(self, server: FaultServer) -> None:
        other = blob("another", 5000)
        server.script("GET", PATH, content(other.data, digest=other.digest))
        outcome = fetch(_place(server), BLOB.digest)
        assert isinstance(outcome.error, errors.DigestMismatch)
        assert outcome.data == b""

    def test_regclient_798_nor_does_a_lie_of_the_server_spoil_a_right_answer(self, server: FaultServer) -> None:
        server.script("GET", PATH, content(BLOB.data, digest=blob("another").digest))
        assert fetch(_place(server), BLOB.digest).data == BLOB.data

    @pytest.mark.parametrize("times", [1, 2])
    def test_a_header_that_contradicts_a_tags_content_is_asked_again_once(
        self, server: FaultServer, times: int
    ) -> None:
        lie = content(IMAGE.manifest.data, IMAGE.manifest.media_type, digest=blob("another").digest)
        truth = content(IMAGE.manifest.data, IMAGE.manifest.media_type, digest=IMAGE.manifest.digest)
        server.script("GET", TAG, *[lie] * times, *[truth] * (2 - times))
        outcome = fetch(_place(server), "v1")
        if times == 1:
            assert outcome.data == IMAGE.manifest.data
        else:
            assert isinstance(outcome.error, errors.DigestMismatch)
            assert outcome.data == b""

    def test_a_lie_is_a_warning_for_who_wants_it_lenient(self, server: FaultServer) -> None:
        lie = content(IMAGE.manifest.data, IMAGE.manifest.media_type, digest=blob("another").digest)
        server.always("GET", TAG, lie)
        outcome = fetch(_place(server), "v1", settings=Settings(lenient=True))
        assert outcome.data == IMAGE.manifest.data
        assert any(notice.level == "warning" for notice in outcome.notices)

    def test_oras_py_a_blob_is_hashed(self, kind: Kind, server: FaultServer) -> None:
        server.script("GET", PATH, content(flip(BLOB.data, 17)))
        outcome = fetch(kind.at(server), BLOB.digest)
        assert isinstance(outcome.error, errors.DigestMismatch)
        assert (outcome.code, outcome.data) == (5, b"")
        for fact in (str(BLOB.digest), str(Digest.of(flip(BLOB.data, 17))), "5000 bytes", server.host):
            assert fact in outcome.error.what

    def test_containers_image_2687_a_referrer_is_fetched_by_digest_and_verified(self, server: FaultServer) -> None:
        signature = blob("signature", 500)
        listing = to_json(
            {"schemaVersion": 2, "manifests": [{**signature.descriptor.to_json(), "artifactType": "a/b"}]}
        )
        path = f"/v2/{REPOSITORY}/referrers/{IMAGE.manifest.digest}"
        server.script("GET", path, content(listing, "application/vnd.oci.image.index.v1+json"))
        with open_remote(_place(server), Settings()) as remote:
            assert isinstance(remote, Referring)
            (found,) = remote.referrers(IMAGE.manifest.digest)
        assert found.digest == signature.digest
        server.script("GET", blob_path(REPOSITORY, found.digest), content(flip(signature.data, 0)))
        assert isinstance(fetch(_place(server), found.digest).error, errors.DigestMismatch)

    def test_pip_14131_a_206_from_another_offset_is_not_appended(self, kind: Kind, server: FaultServer) -> None:
        wrong = faults.partial(BLOB.data, 2000, "bytes 2000-4999/5000")
        server.script("GET", PATH, faults.cut(BLOB.data, 1000), wrong, content(BLOB.data))
        assert fetch(kind.at(server), BLOB.digest).data == BLOB.data

    @pytest.mark.parametrize("disposition", ["attachment; filename=evil", "attachment; filename=../evil", "inline"])
    def test_curl_cve_2020_8177_the_server_chooses_no_file_name(
        self, server: FaultServer, tmp_path: Path, disposition: str
    ) -> None:
        """And pip CVE-2019-20916, CVE-2026-13346."""
        server.script("GET", PATH, content(BLOB.data).with_header("Content-Disposition", disposition))
        directory = tmp_path / "in" / "here"
        directory.mkdir(parents=True)
        result = run_dist(["fetch", _place(server), str(BLOB.digest), "-o", str(directory / "mine")])
        assert (result.code, result.stdout, result.stderr) == (0, b"", "")
        assert [path.name for path in (tmp_path / "in").rglob("*")] == ["here", "mine"]
        assert (directory / "mine").read_bytes() == BLOB.data

    def test_containerd_9b7fa6131_a_500_from_manifests_is_no_reason_to_ask_blobs(self, server: FaultServer) -> None:
        server.always("GET", manifest_path(REPOSITORY, IMAGE.manifest.digest), faults.status(500))
        outcome = fetch(_place(server), IMAGE.manifest.digest, "type:manifest")
        assert outcome.code == 7
        assert server.requests("GET", blob_path(REPOSITORY, IMAGE.manifest.digest)) == []

    def test_a_404_is(self, server: FaultServer) -> None:
        """Behaviours B3."""
        server.script("GET", blob_path(REPOSITORY, IMAGE.manifest.digest), faults.registry_error(404, "BLOB_UNKNOWN"))
        server.script(
            "GET",
            manifest_path(REPOSITORY, IMAGE.manifest.digest),
            content(IMAGE.manifest.data, IMAGE.manifest.media_type),
        )
        assert fetch(_place(server), IMAGE.manifest.digest).data == IMAGE.manifest.data


class TestWhatIsTaken:
    """Security 2.4: no answer is read for ever."""

    def _refused(self, outcome: Outcome, error: type[errors.DistError] = errors.LimitExceeded) -> None:
        assert isinstance(outcome.error, error)
        assert outcome.data == b""

    def test_cve_2020_1702_an_endless_manifest_meets_the_limit(self, server: FaultServer) -> None:
        server.script("GET", TAG, ENDLESS)
        self._refused(fetch(_place(server), "v1"))

    def test_cve_2020_1702_also_one_that_is_asked_for_by_digest(self, server: FaultServer) -> None:
        """And ggcr #1711, #2296, #2328; regclient #512: loudly, and not by cutting it."""
        server.script("GET", manifest_path(REPOSITORY, IMAGE.manifest.digest), ENDLESS)
        outcome = fetch(_place(server), IMAGE.manifest.digest, "type:manifest")
        assert isinstance(outcome.error, errors.LimitExceeded)
        assert len(outcome.data) < 8 << 20

    def test_cve_2020_1702_and_one_that_says_so_itself(self, server: FaultServer) -> None:
        huge = content(b"{}", IMAGE.manifest.media_type).but(declared=9 << 20, ending="hang")
        server.script("GET", TAG, huge)
        self._refused(fetch(_place(server), "v1"))

    def test_cve_2020_1702_an_endless_token_answer(self, server: FaultServer) -> None:
        server.script("GET", "/token", faults.endless_body(most=ENOUGH))
        server.script("GET", PATH, faults.challenge(server.url("/token"), SCOPE))
        self._refused(fetch(_place(server), BLOB.digest), errors.ProtocolError)

    @pytest.mark.parametrize("code", [403, 404, 500])
    def test_cve_2020_1702_an_endless_error_body(self, kind: Kind, server: FaultServer, code: int) -> None:
        server.always("GET", kind.path("v1"), faults.endless_body(code, most=ENOUGH))
        outcome = fetch(kind.at(server), "v1", attempts=1)
        assert outcome.error is not None
        assert outcome.error.status == code

    @pytest.mark.parametrize("how", ["longer", "overflowing", "endless"])
    def test_regclient_1096_no_more_is_read_than_was_declared(self, kind: Kind, server: FaultServer, how: str) -> None:
        steps: dict[str, Step] = {
            "longer": faults.longer(BLOB.data),
            "overflowing": faults.overflowing(BLOB.data),
            "endless": faults.endless_body(most=ENOUGH),
        }
        server.script("GET", PATH, steps[how])
        outcome = fetch(kind.at(server), BLOB.digest, f"size:{len(BLOB.data)}")
        if how == "overflowing":
            assert outcome.data == BLOB.data
        else:
            self._refused(outcome, errors.SizeMismatch)

    def test_an_endless_blob_of_unknown_size_meets_the_users_limit(self, kind: Kind, server: FaultServer) -> None:
        server.script("GET", PATH, faults.endless_body(piece=bytes(65536), most=ENOUGH))
        outcome = fetch(kind.at(server), BLOB.digest, settings=Settings(max_size=1 << 20))
        assert isinstance(outcome.error, errors.LimitExceeded)
        assert outcome.data == b""

    @pytest.mark.parametrize("what", ["manifest", "token"])
    def test_cve_2025_66471_a_bomb_in_a_coding_is_not_unfolded(self, server: FaultServer, what: str) -> None:
        """And CVE-2025-66418, CVE-2026-21441, GHSA-mf9v-mfxr-j63j: 64 MiB in 64 kB, a thousand times over."""
        if what == "manifest":
            server.script("GET", TAG, BOMB)
            outcome = fetch(_place(server), "v1")
            self._refused(outcome)
            assert "declares" not in str(outcome.error)  # which would tell that all of it was unfolded
        else:
            server.script("GET", "/token", BOMB)
            server.script("GET", TAG, faults.challenge(server.url("/token"), SCOPE))
            self._refused(fetch(_place(server), "v1"), errors.ProtocolError)

    @pytest.mark.parametrize("what", ["error", "redirect"])
    def test_cve_2025_66471_nor_where_no_content_is_expected(self, kind: Kind, server: FaultServer, what: str) -> None:
        if what == "error":
            server.script("GET", kind.path("v1"), BOMB.but(status=404))
            self._refused(fetch(kind.at(server), "v1"), errors.NotFound)
        else:
            server.script("GET", kind.path("v1"), BOMB.but(status=307).with_header("Location", "/elsewhere"))
            server.script("GET", "/elsewhere", content(IMAGE.manifest.data, IMAGE.manifest.media_type))
            assert fetch(kind.at(server), "v1").data == IMAGE.manifest.data

    def test_cve_2025_66418_a_chain_of_codings_is_not_followed(self, server: FaultServer) -> None:
        body = IMAGE.manifest.data
        for _ in range(3):
            body = gzip.compress(body)
        server.script("GET", TAG, faults.labelled(body, "gzip, gzip, gzip"))
        self._refused(fetch(_place(server), "v1"), errors.DistError)

    def test_ghsa_298f_pages_that_go_in_a_circle_end(self, server: FaultServer) -> None:
        path = f"/v2/{REPOSITORY}/tags/list"

        def link(n: int) -> tuple[str, str]:
            return ("Link", f'<{path}?last={n}>; rel="next"')

        server.always(
            "GET", path, faults.in_turn(*(faults.json_answer({"tags": ["a"]}, headers=[link(n)]) for n in (1, 2, 1)))
        )
        with pytest.raises(errors.ProtocolError, match="pagination loop"):
            _tags(server)

    def test_ghsa_298f_pages_without_end_end(self, server: FaultServer) -> None:
        path = f"/v2/{REPOSITORY}/tags/list"
        count = iter(range(10_000))

        def page(exchange: object) -> None:
            link = ("Link", f'<{path}?last={next(count)}>; rel="next"')
            faults.json_answer({"tags": ["a"]}, headers=[link])(exchange)  # type: ignore[arg-type]

        server.always("GET", path, page)
        with pytest.raises(errors.LimitExceeded):
            _tags(server)
        assert len(server.log) == 100

    def test_regclient_812_retries_end(self, server: FaultServer) -> None:
        server.always("GET", TAG, faults.status(503))
        assert fetch(_place(server), "v1").code == 7
        assert len(server.log) == 5


def test_the_environment_of_a_login_is_read(tmp_path: Path, server: FaultServer) -> None:
    """The credentials that all these tests say were not sent elsewhere are sent where they belong."""
    basic = faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])
    server.script("GET", PATH, basic, content(BLOB.data))
    assert fetch(_place(server), BLOB.digest, settings=_login(tmp_path, server.host)).data == BLOB.data
    assert server.log[1].header("authorization").startswith("Basic ")
    assert with_environment(A="b").environ == {"A": "b"}
