"""The same calls to a plain Triton and to a pool, and what may differ between the answers."""
