"""The way back: one object read in parallel ranges, proved, and delivered in order."""
