"""The matrix of faults: checks and disturbances, each run drawn from a seed.

A *check* changes rows as its users would; a *disturbance* does harm meanwhile. One
stack and one set of processes are kept over many runs, so a run also begins with what
the runs before it left. After each run all of schema ``analytics`` is compared with the
oracle, the journal with PostgreSQL, and the results topics with themselves.
"""
