"""One module for each command, and what commands that store or read share."""
