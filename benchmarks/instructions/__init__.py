"""What one request costs in figures that a busy machine does not change: instructions, system calls, switches."""
