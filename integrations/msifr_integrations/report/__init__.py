"""Reports: one HTML file that explains itself, with its plots inside."""
