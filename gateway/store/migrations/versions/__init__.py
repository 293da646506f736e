"""One module for each revision. A released one never changes: databases have it."""
