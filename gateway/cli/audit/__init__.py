"""The `audit` commands: `retire` takes old chains out of the audit log, and all others only read it."""
