"""A simulated QStash, as dangerous as the real one, that reports which runs it cancelled. `serve` never uses it."""
