"""The events of the record: what each of them says, declared once."""
