"""`make replay`: a part of a real trace against a pool on the cluster, and the same through the simulator."""
