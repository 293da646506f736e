"""The strict readers of files that people write (every problem has its place), of secrets, and of files that change."""
