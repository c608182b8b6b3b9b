"""Model repositories for the demo and the end-to-end tests, and how they get into a pod: as one ConfigMap."""

from e2e.models.repository import Files, Volume, demo, ensemble, probe, text, volume

__all__ = ["Files", "Volume", "demo", "ensemble", "probe", "text", "volume"]
