"""A PyTorch model as a Graph."""
