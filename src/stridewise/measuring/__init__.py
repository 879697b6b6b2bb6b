"""Measured, not computed: latency, memory, shift consistency, detail and accuracy, as records with their conditions."""
