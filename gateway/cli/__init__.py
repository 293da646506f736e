"""The commands, one module for each group; `command` joins them, `policies` and `trial` hold two families."""
