"""What is computed from rankings and judgements, and its file format."""
