"""Several runs: seeds, search, results, significance."""
