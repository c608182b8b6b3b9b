"""The operator's loops: gather, plan, apply, and the telemetry of them."""
