"""Networks trained for a task under any plan, and what came out of it. Nothing here is imported until it is asked for."""
