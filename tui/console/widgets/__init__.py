"""The console's own widgets. They take plain data and redraw only the cells that changed."""
