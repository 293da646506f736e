"""The commands, one module for each group; `command` joins them."""
