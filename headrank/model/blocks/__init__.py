"""Key and value states of passages that attend only to themselves and the opening: computed, stored, reused."""
