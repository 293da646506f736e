"""The commands for trying the gateway out: `demo` with its tour, and `simulate`."""
