"""Coverage-guided fuzzing of everything that reads bytes: `python -m tests.reliability.fuzz --minutes 10`."""
