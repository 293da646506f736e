"""The audit log: records, hash chains, files, the writer thread, and recovery at a start."""
