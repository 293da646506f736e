"""The parts of one request by themselves, each beside a loop of plain Python that tells how fast the machine is."""
