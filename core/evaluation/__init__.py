"""What scores mean: the scoreboard of a head-to-head and its confidence intervals. Loads no torch."""
