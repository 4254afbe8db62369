"""The arithmetic of Deltafolio: rows in, results out. No clock, no I/O, no chance."""
