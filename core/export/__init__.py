"""Export of runs as plain files, figures and reports, and in the formats of other tools. Loads no torch."""

from dipddpm.core.export.formats import FORMATS, Exported, Format, OutputExistsError, export, refuse, scp_line

__all__ = ["FORMATS", "Exported", "Format", "OutputExistsError", "export", "refuse", "scp_line"]
