"""Configuration files that must be refused, and how.

A file holding `toml` makes the message `FILE:LINE: …expected…`; `line` 0 stands for a message
that begins with `FILE: `. None needs an environment variable or another file.
"""

from __future__ import annotations

from typing import NamedTuple


class BadConfig(NamedTuple):
    """One file, and what must be said of it."""

    name: str
    toml: str
    expected: str
    line: int


def _remote(name: str, body: str, expected: str, line: int = 3) -> BadConfig:
    """A case in an otherwise good `[[remote]]`; its first two lines are the header and the prefix."""
    return BadConfig(name, f'[[remote]]\nprefix = "registry.example"\n{body}\n', expected, line)


SYNTAX = [
    BadConfig("no-equals-sign", '[[remote]]\nprefix "x"\n', "not valid TOML: Expected '=' after a key", 2),
    BadConfig("unclosed-string", '\n\n[fetch]\ntimeout = "10s\n', "not valid TOML: ", 4),
    BadConfig(
        "unclosed-list-at-the-end", '[[remote]]\nprefix = "registry.example"\ntls.ca = [\n\n', "not valid TOML", 3
    ),
    BadConfig("key-twice", "[fetch]\nlenient = true\nlenient = false\n", "Cannot overwrite a value", 3),
    BadConfig("table-twice", "[fetch]\n\n[fetch]\n", "not valid TOML: Cannot declare ('fetch',) twice", 3),
    BadConfig("nul-byte", "[fetch]\n\0\n", "not valid TOML: Invalid statement", 2),
    BadConfig("number-of-too-many-digits", f"[fetch]\nmax_size = {'9' * 5000}\n", "a number has too many digits", 0),
    BadConfig("nested-too-deeply", f"x = {'[' * 20_000}\n", "nested too deeply", 0),
]
KEYS = [
    BadConfig("unknown-table", "# top\n[fetsh]\nlenient = true\n", "unknown key fetsh: did you mean fetch?", 2),
    BadConfig("unknown-key-without-likeness", "zzz = 1\n", "unknown key zzz: known keys: remote, fetch", 1),
    BadConfig("unknown-fetch-key", "[fetch]\n# a comment\nretries = 3\n", "unknown key fetch.retries", 3),
    _remote("unknown-remote-key", 'headers = { x = "y" }', "unknown key headers: did you mean header?"),
    _remote(
        "unknown-tls-key", "tls = { skip-verify = true }", "unknown key tls.skip-verify: did you mean skip_verify?"
    ),
    _remote("unknown-dotted-key", 'timeout.conect = "1s"', "unknown key timeout.conect: did you mean connect?"),
    _remote("unknown-key-in-a-table-below", "\n[remote.retry]\ntries = 3", "unknown key retry.tries", 5),
    _remote("unknown-key-with-a-quoted-name", '"a b" = 1', "unknown key 'a b'"),
    _remote("unknown-key-that-is-an-escape-sequence", '"\\u001b[31m" = 1', "unknown key '\\x1b[31m'"),
    BadConfig("fetch-store", "[fetch]\nstore = 'yes'\n", "fetch.store", 2),
]
TYPES = [
    BadConfig("remote-as-a-table", '[remote]\nprefix = "registry.example"\n', "write [[remote]], with two brackets", 1),
    BadConfig(
        "remote-as-a-list-of-words",
        'remote = [\n  "registry.example",\n]\n',
        "remote: expected a table, got a string",
        2,
    ),
    BadConfig("fetch-as-a-list", "[[fetch]]\n", "fetch: expected a table, got a list", 1),
    _remote("blocked-as-a-string", 'blocked = "yes"', "blocked: expected true or false, got a string"),
    _remote("kind-as-a-date", "kind = 1979-05-27", "kind: expected a string, got a date or time"),
    _remote("ca-as-a-string", 'tls = { ca = "ca.pem" }', "tls.ca: expected a list of files, got a string: as in ca = "),
    _remote("ca-of-numbers", "tls.ca = [\n  # the first\n  1,\n]", "tls.ca[0]: expected a string, got an integer", 5),
    _remote(
        "client-as-a-flat-list", 'tls.client = ["c.pem", "c.key"]', "tls.client[0]: expected a certificate and its key"
    ),
    _remote("attempts-as-a-boolean", "retry.attempts = true", "retry.attempts: expected an integer, got a boolean"),
    _remote("timeout-as-a-number", "timeout = 10", "timeout: expected a table, got an integer"),
    _remote("header-as-a-list", 'header = ["x: y"]', "header: expected a table, got a list: as in header = "),
    _remote(
        "header-value-as-a-number", "header = { x-tenant = 7 }", "header.x-tenant: expected a string, got an integer"
    ),
    _remote("proxy-as-a-boolean", "proxy = false", "proxy: expected a string, got a boolean"),
    _remote(
        "allow-hosts-as-a-string", 'redirect.allow_hosts = "*.cdn.example"', "redirect.allow_hosts: expected a list"
    ),
    BadConfig("size-as-a-float", "[fetch]\nmax_size = 1.5\n", "fetch.max_size: expected a size, got a number", 2),
    BadConfig(
        "duration-as-a-boolean", "[fetch]\ntimeout = true\n", "fetch.timeout: expected a duration, got a boolean", 2
    ),
]
PREFIXES = [
    BadConfig("no-prefix", '\n[[remote]]\nkind = "registry"\n', "a [[remote]] has no prefix", 2),
    BadConfig("empty-prefix", '[[remote]]\nprefix = ""\n', "prefix is empty", 2),
    BadConfig(
        "prefix-with-a-scheme", '[[remote]]\nprefix = "http://lan.example"\n', "for http://, set plain_http = true", 2
    ),
    BadConfig(
        "prefix-without-a-host", '[[remote]]\nprefix = "library/redis"\n', "did you mean 'docker.io/library/redis'?", 2
    ),
    BadConfig(
        "prefix-with-a-tag", '[[remote]]\nprefix = "a.example/b:1"\n', "a locator must not have a tag or digest", 2
    ),
    BadConfig("prefix-with-upper-case", '[[remote]]\nprefix = "a.example/B"\n', "a repository must be lower case", 2),
    BadConfig(
        "prefix-that-ends-with-a-slash", '[[remote]]\nprefix = "a.example/"\n', "component of the path is empty", 2
    ),
    BadConfig("prefix-with-a-bad-port", '[[remote]]\nprefix = "a.example:70000"\n', "port 70000 is not between", 2),
    BadConfig("prefix-that-is-a-path", '[[remote]]\nprefix = "/srv"\n', "'/srv' does not begin with a host", 2),
    BadConfig("prefix-with-a-kind", '[[remote]]\nprefix = "s3::a.example"\n', "does not begin with a host", 2),
    BadConfig(
        "wildcard-with-a-path", '[[remote]]\nprefix = "*.a.example/b"\n', "a wildcard prefix cannot have a path", 2
    ),
    BadConfig(
        "wildcard-within",
        '[[remote]]\nprefix = "a.*.example"\n',
        "a wildcard must be the first label of a host: as in *.example.com",
        2,
    ),
    BadConfig(
        "bare-wildcard", '[[remote]]\nprefix = "*"\n', "prefix: '*': a wildcard must be the first label of a host", 2
    ),
    BadConfig("control-character", '[[remote]]\nprefix = "a.example\\n"\n', "prefix has control characters", 2),
    BadConfig(
        "prefix-twice",
        '[[remote]]\nprefix = "docker.io/library"\n\n[[remote]]\nblocked = true\nprefix = "index.docker.io/library"\n',
        "prefix 'docker.io/library' is given twice: the other is at ",
        6,
    ),
]
PLACES = [
    _remote(
        "location-with-a-scheme", 'location = "https://m.example/x"', "location: 'https://m.example/x': a name has no"
    ),
    _remote("location-without-a-host", 'location = "mirror/x"', "location: 'mirror/x' does not begin with a host"),
    _remote("location-with-a-digest", 'location = "m.example/x@sha256:0"', "location: 'm.example/x@sha256:0'"),
    _remote(
        "location-of-another-kind-with-a-scheme", 'kind = "s3"\nlocation = "s3://b/p"', "a location has no scheme", 4
    ),
    _remote("layout-without-a-location", 'kind = "layout"', "a [[remote]] of kind layout has no location", 1),
    _remote("kind-with-upper-case", 'kind = "Registry"', "kind: 'Registry' is not a kind"),
    _remote("proxy-without-a-scheme", 'proxy = "proxy.example:3128"', "proxy is not the URL of a proxy"),
    _remote("proxy-of-a-strange-scheme", 'proxy = "ftp://proxy.example"', "proxy is not the URL of a proxy"),
    _remote("proxy-with-a-bad-port", 'proxy = "http://proxy.example:port"', "proxy is not the URL of a proxy"),
    _remote(
        "redirect-host-with-a-port", 'redirect.allow_hosts = ["cdn.example:443"]', "'cdn.example:443' is not a host"
    ),
    _remote("redirect-host-as-a-url", 'redirect.allow_hosts = ["https://cdn.example"]', "is not a host"),
    _remote("realm-host-with-a-path", 'auth.realm_hosts = ["a.example", "a.example/token"]', "auth.realm_hosts[1]"),
    _remote("missing-ca", 'tls = { ca = ["missing.pem"] }', "missing.pem does not exist"),
    _remote("missing-client-key", 'tls.client = [["missing.pem", "missing.key"]]', "tls.client[0][0]: "),
    _remote("ca-that-is-a-directory", 'tls.ca = ["."]', "is a directory"),
    _remote("missing-auth-file", 'auth = { file = "missing.json" }', "missing.json does not exist"),
]
AMOUNTS = [
    BadConfig("duration-without-a-number", '[fetch]\ntimeout = "s"\n', "fetch.timeout: 's' is not a duration", 2),
    BadConfig("duration-in-days", '[fetch]\ntimeout = "1d"\n', "fetch.timeout: '1d' is not a duration", 2),
    BadConfig("duration-out-of-order", '[fetch]\ntimeout = "10s1m"\n', "expected seconds, or a form like 10s", 2),
    BadConfig(
        "negative-duration", "[fetch]\ntimeout = -1\n", "fetch.timeout: a duration must be between 0 and 7 days", 2
    ),
    BadConfig(
        "infinite-duration", "[fetch]\ntimeout = inf\n", "fetch.timeout: a duration must be between 0 and 7 days", 2
    ),
    BadConfig("duration-that-is-no-number", "[fetch]\ntimeout = nan\n", "a duration must be between 0 and 7 days", 2),
    BadConfig("duration-of-a-thousand-digits", f"[fetch]\ntimeout = {'9' * 1000}\n", "between 0 and 7 days", 2),
    _remote("timeout-of-nothing", 'timeout = { connect = "10s", idle = 0 }', "timeout.idle must be more than 0"),
    _remote(
        "bad-timeout-in-a-table-below",
        '\n[remote.timeout]\nconnect = "1s"\nheaders = "soon"',
        "timeout.headers: 'soon'",
        6,
    ),
    _remote(
        "bad-retry-wait", 'retry = { attempts = 3, max_wait = "1min" }', "retry.max_wait: '1min' is not a duration"
    ),
    _remote("no-attempts", "retry.attempts = 0", "retry.attempts is not between 1 and 100"),
    _remote("too-many-hops", "redirect.max_hops = 1000", "redirect.max_hops is not between 0 and 50"),
    BadConfig("size-with-a-strange-unit", '[fetch]\nmax_size = "4M"\n', "fetch.max_size: '4M' is not a size", 2),
    BadConfig("size-with-a-fraction", '[fetch]\nmax_size = "1.5GiB"\n', "expected whole bytes, or a form like 8MiB", 2),
    BadConfig("negative-size", "[fetch]\nmax_size = -1\n", "fetch.max_size: a size must be between 0 and", 2),
    BadConfig(
        "size-beyond-all-bounds",
        '[fetch]\nmax_size = "9999999999TiB"\n',
        "fetch.max_size: a size must be between 0 and",
        2,
    ),
]
SECRETS = [
    _remote("unset-variable", 'header = { x-t = "${DIST_TEST_NOT_SET}" }', "variable DIST_TEST_NOT_SET is not set"),
    _remote("unset-variable-in-a-proxy", 'proxy = "${DIST_TEST_NOT_SET}"', "variable DIST_TEST_NOT_SET is not set"),
    _remote("unclosed-variable", 'header.x-t = "${TENANT"', "header.x-t: '${' does not begin a ${NAME}"),
    _remote("header-value-with-a-line-end", 'header.x-t = "a\\r\\nHost: b"', "header.x-t is not a header value"),
    _remote("header-value-beyond-ascii", 'header.x-t = "münchen"', "header.x-t is not a header value"),
    _remote("header-value-with-a-space-after", 'header.x-t = "a "', "header.x-t is not a header value"),
    _remote("header-name-with-a-space", 'header = { "x t" = "a" }', "header.'x t' is not a header name"),
    _remote("header-name-with-a-line-end", 'header = { "x\\n" = "a" }', "'x\\n' is not a header name"),
    _remote("header-without-a-name", 'header = { "" = "a" }', "'' is not a header name"),
    _remote("header-twice", 'header = { X-A = "1", x-a = "2" }', "header.x-a is given twice"),
    _remote("header-authorization", 'header = { authorization = "Basic eA==" }', "credentials come from the files"),
    _remote("header-host", 'header.Host = "a.example"', "header.Host cannot be set"),
    _remote("header-range", '\n[remote.header]\n# all\n"Range" = "bytes=0-"', "header.Range cannot be set", 6),
    _remote("header-cookie", 'header.cookie = "a=b"', "header.cookie cannot be set"),
    _remote("header-accept-encoding", 'header."Accept-Encoding" = "gzip"', "header.Accept-Encoding cannot be set"),
    _remote("auth-source-unknown", 'auth = { source = "podman" }', "expected one of auto, docker, containers, none"),
    _remote("auth-helper-that-is-a-path", 'auth = { helper = "../evil" }', "auth.helper: '../evil' is not the name"),
    _remote(
        "auth-helper-and-source",
        'auth = { source = "none", helper = "ecr-login" }',
        "auth.source cannot be combined with",
    ),
]
_ZEROS = "0" * 64
MIRRORS = [
    _remote("mirror-as-a-table", '[remote.mirror]\nlocation = "m.example/x"', "write [[remote.mirror]], with two"),
    _remote("mirror-without-a-location", "\n[[remote.mirror]]\nns = true", "a [[remote.mirror]] has no location", 4),
    _remote("mirror-with-a-prefix", '\n[[remote.mirror]]\nprefix = "a.example"', "unknown key mirror[0].prefix", 5),
    _remote("mirror-of-a-mirror", "\n[[remote.mirror]]\nmirror = []", "unknown key mirror[0].mirror", 5),
    _remote(
        "second-mirror-with-a-scheme",
        '\n[[remote.mirror]]\nlocation = "m.example/x"\n[[remote.mirror]]\nlocation = "http://m.example"',
        "mirror[1].location: 'http://m.example': a name has no scheme",
        7,
    ),
    _remote("no-capabilities", "capabilities = []", "capabilities is empty: expected some of pull, resolve, push"),
    _remote("unknown-capability", 'capabilities = ["pull", "fetch"]', "capabilities[1] is 'fetch': expected one of"),
    _remote("api-path-as-a-url", 'api_path = "https://a.example/v2"', "api_path: 'https://a.example/v2' is not a path"),
    _remote("api-path-that-climbs", 'api_path = "/a/../v2"', "api_path: '/a/../v2' is not a path"),
    _remote("api-path-with-a-slash-at-the-end", 'api_path = "/v2/"', "api_path: '/v2/' is not a path"),
]
POLICY = [
    BadConfig("unknown-policy", '[policy]\nrequire_digests = ["*"]\n', "did you mean require_digest?", 2),
    BadConfig("policy-for-a-bare-word", '[policy]\nblocked = [\n"evil"]\n', "'evil' does not begin with a host", 3),
    BadConfig("policy-with-a-glob", '[policy]\nrequire_digest = ["a.example/*/x"]\n', "a wildcard must be", 2),
    BadConfig("policy-of-no-algorithm", "[policy]\nalgorithms = []\n", "policy.algorithms is empty", 2),
    BadConfig("policy-of-a-weak-algorithm", '[policy]\nalgorithms = ["md5"]\n', "policy.algorithms[0] is 'md5'", 2),
    BadConfig("pin-without-a-tag", f'[pin]\n"a.example/x" = "sha256:{_ZEROS}"\n', "'a.example/x' is not NAME:TAG", 2),
    BadConfig("pin-of-a-digest", f'[pin]\n"a.example/x@sha256:{_ZEROS}" = ""\n', "is not NAME:TAG", 2),
    BadConfig("pin-of-a-directory", f'[pin]\n"./x:1" = "sha256:{_ZEROS}"\n', "'./x:1' is not NAME:TAG", 2),
    BadConfig("pin-to-a-tag", '[pin]\n"redis:7" = "8"\n', "'8' is not a digest", 2),
    BadConfig("pin-to-half-a-digest", '[pin]\n"redis:7" = "sha256:00"\n', "is not a sha256 digest", 2),
    BadConfig("pin-to-what-cannot-be-verified", '[pin]\n"redis:7" = "md5:00"\n', "digests of md5 cannot be", 2),
    BadConfig(
        "pinned-twice",
        f'[pin]\n"redis:7" = "sha256:{_ZEROS}"\n"docker.io/library/redis:7" = "sha256:{_ZEROS}"\n',
        "docker.io/library/redis:7 is pinned twice: the other is at ",
        3,
    ),
    BadConfig("unknown-import", '\nimport = ["policy.json"]\n', "import[0] is 'policy.json': expected one of hosts", 2),
    BadConfig("unknown-store-key", '[store]\nplace = "/srv"\n', "unknown key store.place", 2),
]
BAD_CONFIGS = [*MIRRORS, *POLICY, *SYNTAX, *KEYS, *TYPES, *PREFIXES, *PLACES, *AMOUNTS, *SECRETS]
