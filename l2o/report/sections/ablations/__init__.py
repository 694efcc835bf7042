"""The section: ablations."""

from l2o.report.section import Section
from l2o.report.sections.ablations.claims import claims
from l2o.report.sections.ablations.figures import drawings
from l2o.report.sections.ablations.tables import context

SECTION = Section("ablations", "Ablations", context, drawings, claims)
