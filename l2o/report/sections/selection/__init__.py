"""The section: checkpoint selection."""

from l2o.report.section import Section
from l2o.report.sections.selection.figures import drawings
from l2o.report.sections.selection.tables import context

SECTION = Section("selection", "Selection", context, drawings)
