"""The commands. `main` joins them; `cancel`, `policies` and `trial` hold a family each."""
