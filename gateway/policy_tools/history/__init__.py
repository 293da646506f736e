"""What the record says of rules: a candidate judged by past requests (`replay`), rules in shadow mode (`shadowing`)."""
