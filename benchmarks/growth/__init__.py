"""What grows with what: keys, rules, IDs in a request, gateways on the machine, pages looked up, TLS."""
