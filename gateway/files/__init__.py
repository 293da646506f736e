"""Files that people write: read strictly, every problem with its place; where secrets are; what changed."""
