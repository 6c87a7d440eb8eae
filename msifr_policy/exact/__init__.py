"""The exact mathematics of finite stage processes: evaluation, optimum, frontier, martingale, bias, roulette."""
