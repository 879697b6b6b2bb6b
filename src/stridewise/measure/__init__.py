"""Measured, not computed: latency and memory of networks, as records with their conditions."""
