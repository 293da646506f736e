"""Plans: the runs of a request looked up, kept until applied, and their orders sent in turn, each checked again."""
