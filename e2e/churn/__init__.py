"""`make churn`: a pool under requests while everything that can happen to it happens; no request may fail."""
