"""Configuration files of other programs: containerd's certs.d, and registries.conf of the containers tools."""
