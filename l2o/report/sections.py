"""The parts of the report that have figures; imports nothing, as the workflow reads it, too."""

# Folder of the figures below `figures/`, and its title.
SECTIONS = {
    "learning_curves": "Learning curves",
    "meta_training": "Meta-training",
    "selection": "Selection",
    "transfer": "Transfer",
    "ablations": "Ablations",
    "gradients": "Gradients",
}
