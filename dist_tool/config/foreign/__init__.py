"""Configuration of other programs: containerd's certs.d, containers' registries.conf."""
