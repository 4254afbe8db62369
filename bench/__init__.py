"""One script a question; each prints its command, the machine, n, min, median, max."""
