"""Configuration files: destinations by name, and the reference sink's own format."""
