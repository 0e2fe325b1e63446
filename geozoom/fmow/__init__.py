"""fMoW (Functional Map of the World) on disk: its tree, boxes, pixels and the challenge's score."""
