"""Many requests of every kind, and what must be after them as it was before: memory, descriptors, threads, tasks."""
