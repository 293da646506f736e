"""The commands that stop all cancels, or some, and let them go on: through a gateway, or straight into the store."""
