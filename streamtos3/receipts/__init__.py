"""Receipts after the upload: as files, signed, checked, and as a report for people."""
