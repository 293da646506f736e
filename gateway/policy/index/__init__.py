"""The index of rules: it finds those that may apply to a request or a run without trying each."""
