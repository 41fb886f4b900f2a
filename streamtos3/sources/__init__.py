"""Where the bytes come from: descriptors, files, commands, Python objects, and wrappers of them."""
