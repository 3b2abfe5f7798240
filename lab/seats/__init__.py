"""Seats: people at machines, and what they do there with the programs they have."""
