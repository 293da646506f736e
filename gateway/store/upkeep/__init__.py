"""What people do with a whole store, by commands: bring it to the revision of this version, and copy it."""
