"""Restoration of given pictures, whose truth is unknown, tile by tile."""
