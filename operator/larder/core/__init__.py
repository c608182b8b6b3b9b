"""Pure decisions: snapshots in, plans out. No clock, no randomness, no I/O."""
