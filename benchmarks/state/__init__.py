"""What shared state costs: a gateway without it, with it, and with a budget on either database, in turn."""
