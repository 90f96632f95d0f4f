"""Starting, queueing, stopping and resuming runs, each in a process of its own. Loads no torch."""
