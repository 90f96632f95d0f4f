"""Taking results home: a run's series, config and images as plain files. Loads no torch."""

from core.export.bundle import Bundle, bundle, scp_line

__all__ = ["Bundle", "bundle", "scp_line"]
