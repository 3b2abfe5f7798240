"""Topologies: what a lab consists of, as pure data. Nothing here knows of Docker."""
