"""The gateway beside nginx, Envoy and Caddy doing the same work, all in one run."""
