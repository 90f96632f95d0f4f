"""The interactive console, dipddpm-tui."""
