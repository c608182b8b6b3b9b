"""A pool's gateway: the activator and the configuration of Envoy beside it."""
