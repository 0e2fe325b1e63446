"""The rows of the paper's tables beside PatchDrop (paper §5.2): one module for each."""
