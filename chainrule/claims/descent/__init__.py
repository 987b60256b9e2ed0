"""Gradient descent and backpropagation: what is exact, what converges, and how fast."""
