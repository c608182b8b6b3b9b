"""The README's test command: every suite in turn, each within its share of the time budget in CONTRIBUTING.md."""
