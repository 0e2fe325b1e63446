"""What comes back after the invoice: files of any shape → a catalog, held against what was ordered."""
