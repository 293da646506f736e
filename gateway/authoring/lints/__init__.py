"""The lints by their subjects; `authoring/lint` runs them all."""
