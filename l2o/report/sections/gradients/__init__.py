"""The section: what the gradients look like."""

from l2o.report.section import Section
from l2o.report.sections.gradients.claims import claims
from l2o.report.sections.gradients.figures import drawings
from l2o.report.sections.gradients.tables import context

SECTION = Section("gradients", "Gradients", context, drawings, claims)
