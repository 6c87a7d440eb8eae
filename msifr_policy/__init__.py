"""Decision core."""
