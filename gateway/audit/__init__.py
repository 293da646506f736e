"""The audit log: records, chains, files, the writer, recovery and verification."""
