"""The section: meta-training."""

from l2o.report.section import Section
from l2o.report.sections.meta_training.figures import drawings
from l2o.report.sections.meta_training.tables import context

SECTION = Section("meta", "Meta-training", context, drawings)
