"""HTTP client: sessions, redirects, authorization, downloads. The only importer of requests and urllib3."""
