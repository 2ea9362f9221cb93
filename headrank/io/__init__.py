"""Write the files of a run: atomically, with keys, checksums and locks. Also read JSON and measure memory."""
