"""DIP and DDPM combined, one file a method. Their options stand in `dipddpm.core.config.hybrid`."""
