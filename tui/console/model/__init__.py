"""The console's model of runs and of this machine; it needs no terminal."""
