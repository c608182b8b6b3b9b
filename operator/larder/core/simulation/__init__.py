"""A simulated pool in virtual time: the world, the workloads that drive it, and the policies that it is played by."""
