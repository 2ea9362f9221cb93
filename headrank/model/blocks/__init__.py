"""Passages read one by one: which tokens they see, their states and the store that keeps them."""
