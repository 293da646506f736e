"""The audit log: records, chains, files, the writer, and recovery at a start."""
