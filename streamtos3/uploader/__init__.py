"""One stream into one object, from the check before the first byte to the receipt."""
