"""Execution: turns a permit into orders and sends each once. Flights, plans, orders, second looks and follow-ups."""
