"""Activation functions and output layers: what their slopes do to the error signal, and which units never wake."""
