"""A file as a Graph, and plans onto files."""
