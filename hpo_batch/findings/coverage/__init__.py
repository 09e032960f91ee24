"""How much of the space was tried."""
