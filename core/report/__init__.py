"""Pages, tables and plots about runs."""
