"""Reading and writing files without trusting them: atomic writes, untrusted records, clean text. No torch."""
