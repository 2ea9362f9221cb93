"""Passages read one by one: their attention masks, states and the store that keeps them."""
