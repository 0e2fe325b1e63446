"""Train PatchDrop: datasets, recipes, the stages of the paper, evaluation."""

STAGES = ("hr", "lr", "robust", "pt", "ft1", "ft2")
"""All stages in order; `robust` is geozoom's own and is left out where a recipe gives it 0 epochs."""

CLASSIFIER_STAGES, POLICY_STAGES = STAGES[:3], STAGES[3:]

DATASETS = ("cifar10", "cifar100", "imagenet", "fmow", "folder")
"""What `geozoom train --dataset` takes; each has a recipe of its name, and a `paper-` one."""
