"""Beyond the textbook: what happens with more parameters than rows."""
