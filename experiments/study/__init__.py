"""A study of all systems on several collections, and a check that a killed run ends with the same results."""
