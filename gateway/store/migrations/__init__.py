"""Migrations of the store, run by `gateway/store/upkeep/migrate` and loaded by nothing else."""
