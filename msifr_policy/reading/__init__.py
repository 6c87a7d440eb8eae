"""What texts hold, read once for filters and validators: thinking, answers, numbers, choices, fenced blocks, JSON."""
