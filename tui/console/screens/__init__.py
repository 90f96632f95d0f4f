"""Whole screens, and the dialogs that come up over them. Each is loaded when it is first opened."""
