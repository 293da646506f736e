"""What the record proves: verification, retirement, and the records of one decision joined."""
