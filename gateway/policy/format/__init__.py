"""The format of policy files: declarations that read their text and describe it."""
