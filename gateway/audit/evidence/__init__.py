"""The record as evidence: verification, retirement, and the records of one decision joined."""
