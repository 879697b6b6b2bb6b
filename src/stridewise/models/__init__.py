"""Names to models: zoo, folders, own code, weights, built-in networks."""
