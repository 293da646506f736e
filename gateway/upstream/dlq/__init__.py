"""Reading the workflow's dead letter queue: look-ups of failed runs, and the pages that a team sees of its own."""
