"""The paper's tables: every row trained where it is missing, and measured beside the others."""
