"""`make demo`: three real models served from a pod with memory for two, on a real cluster, as a user would do it."""
