"""The section: transfer to unseen tasks."""

from l2o.report.section import Section
from l2o.report.sections.transfer.claims import claims
from l2o.report.sections.transfer.figures import drawings
from l2o.report.sections.transfer.tables import context

SECTION = Section("transfer", "Transfer", context, drawings, claims)
