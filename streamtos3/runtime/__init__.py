"""What work runs on: cancellation, worker threads, part memory, retries, the host, files."""
