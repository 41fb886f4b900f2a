"""Reading an object back: in parallel ranges, in order, and proved."""
