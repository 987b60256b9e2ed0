"""Initialisation: what a network does to a signal and to a gradient before it has learnt anything."""
