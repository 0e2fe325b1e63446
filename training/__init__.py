"""Train PatchDrop: datasets, recipes, the stages of the paper, evaluation."""
