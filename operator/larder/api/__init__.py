"""Custom resources and the project's own wire formats, parsed once into typed values."""
