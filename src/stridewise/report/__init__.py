"""Results as text, JSON and pages, all from the same frozen objects."""
