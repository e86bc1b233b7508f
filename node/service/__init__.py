"""The household's service: where settings become a running node, and stay one."""
