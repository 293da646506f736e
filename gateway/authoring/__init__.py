"""Tools for working with policies: cases, explanations, offers, lint, history, schema."""
