"""Which plans there are, the exact front of the best of them, and a short list to try. No torch here."""
