"""Safe reading and writing of untrusted files: atomic writes, records, and text cleaned for display. No torch."""
