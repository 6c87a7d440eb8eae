"""Monte Carlo under a finite stage process."""
