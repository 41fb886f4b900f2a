"""Endless records cut into objects, each uploaded and proved."""
