"""Export of runs as plain files, figures and reports, and in the formats of other tools. Loads no torch."""

from dipddpm.core.export.formats import FORMATS, Exported, Format, export, refuse, scp_line
from dipddpm.core.io.output import OutputExistsError

__all__ = ["FORMATS", "Exported", "Format", "OutputExistsError", "export", "refuse", "scp_line"]
