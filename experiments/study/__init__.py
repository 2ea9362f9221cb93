"""The study of all systems on several collections, and that a killed one ends the same."""
