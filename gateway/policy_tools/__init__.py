"""Working with policies: cases, explanations, replays, and what an editor needs; no I/O beyond reading files."""
