"""The calls that send nothing upstream: previews and plans, the runs of a team, and questions about policy."""
