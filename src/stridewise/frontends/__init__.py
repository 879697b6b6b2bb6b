"""Framework call -> plain Call -> Node, and plans back into live models and files."""
