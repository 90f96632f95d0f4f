"""Pages, tables and plots that describe runs."""
