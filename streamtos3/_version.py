"""The version, in a module that imports nothing: low modules put it into what they write."""

__all__ = ["__version__"]

__version__ = "0.1.0"
