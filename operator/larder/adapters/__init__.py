"""The outside world; third-party errors stop here."""
