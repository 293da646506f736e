"""Working with policies: cases, explanations, offers, lint, history, schema."""
