"""What the simulated account holds besides runs, and the calls that destroy, stop or start it."""
