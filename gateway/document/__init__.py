"""Strict YAML: text to located nodes to typed values, with every problem of a file at once."""
