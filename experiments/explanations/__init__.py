"""Are explanations faithful? Words that they mark are deleted, and the passage is ranked again. See README.md here."""
