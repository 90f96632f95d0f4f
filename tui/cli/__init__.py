"""The commands of `dipddpm`, a file for each family."""
