"""Statistics of symbols and portfolios over windows of returns.

Everything here is pure numpy on arrays, and every double is bit-equal whatever
the shape of the batch: see ``windows`` for how that is kept.
"""
