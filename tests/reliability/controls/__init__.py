"""Small bugs put into a copy of the project, one at a time: `python -m tests.reliability.controls`."""
