"""Learning rates, weight decay and the optimiser, one file a trick."""
