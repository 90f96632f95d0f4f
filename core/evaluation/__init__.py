"""The scoreboard of a comparison of methods, and its confidence intervals. Loads no torch."""
