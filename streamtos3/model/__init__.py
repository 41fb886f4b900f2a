"""Values and rules without I/O: options, part plans, names, events."""
