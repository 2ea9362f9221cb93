"""Speed and memory of reading attention, against what else ranks a list. See README.md here."""
