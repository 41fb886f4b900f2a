"""What proves bytes, computed and compared without I/O: digests, checksums, ETags."""
