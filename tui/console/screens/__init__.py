"""The console's screens and dialogs. Most are loaded when they are first opened."""
