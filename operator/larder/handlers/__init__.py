"""kopf handlers, one module a kind."""
