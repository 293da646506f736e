"""The words of a judgement, for people: what a request lacks, and what an action is about."""
