"""Real servers from installed wheels, and what runs them on one machine."""
