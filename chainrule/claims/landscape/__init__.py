"""Loss landscapes: curvature, and what the step size makes of it."""
