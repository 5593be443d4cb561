"""HTTP: sessions, redirects, credentials, tokens. The only importer of requests and urllib3."""
