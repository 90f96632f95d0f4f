"""The console's own widgets. They are given plain data and repaint only the cells that changed."""
