"""The sections of the page that have figures, in order.

A section is a folder here with a ``SECTION``, see :class:`l2o.report.section.Section`. Imports
nothing, as the workflow reads it, too.
"""

# Folder here, and below `figures/`, and its title.
SECTIONS = {
    "learning_curves": "Learning curves",
    "meta_training": "Meta-training",
    "selection": "Selection",
    "transfer": "Transfer",
    "ablations": "Ablations",
    "gradients": "Gradients",
}
