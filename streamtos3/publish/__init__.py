"""A directory as objects or as one archive, with a manifest of what is where."""
