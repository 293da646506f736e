"""What must outlive a process, or be shared by a fleet: pure values, and the port of the store that keeps them."""
