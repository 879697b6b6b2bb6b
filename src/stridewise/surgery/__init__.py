"""Plans onto live models, verification, code, export, features."""
