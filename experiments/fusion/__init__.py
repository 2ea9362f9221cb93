"""Compare ways to fuse passage scores with the first stage. See README.md here."""
