"""Working with policies: cases, explanations, offers, what an editor needs; no I/O beyond reading files.

`lints` warns about what is accepted, `history` reads the record.
"""
