"""The section: learning curves on the toy tasks."""

from l2o.report.section import Section
from l2o.report.sections.learning_curves.claims import claims
from l2o.report.sections.learning_curves.figures import drawings
from l2o.report.sections.learning_curves.tables import context

SECTION = Section("curves", "Toy tasks", context, drawings, claims)
