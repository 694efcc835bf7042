"""The fault drill: things go wrong on purpose, and the results must be the same."""
