"""The console, dipddpm-tui."""
