"""Historical sessions fed again: for backfills, proofs and questions."""
