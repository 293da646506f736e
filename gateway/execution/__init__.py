"""A permit becomes orders, each sent once: in flight, plans, orders, recheck, follow-up."""
