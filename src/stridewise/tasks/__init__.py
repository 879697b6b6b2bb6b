"""Networks trained for a task under any plan, and what came out of it."""
