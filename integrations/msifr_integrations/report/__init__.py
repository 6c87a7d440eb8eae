"""Reports: one HTML file that explains itself, with its plots inside."""

from msifr_integrations.report.page import Figure, Table, write_page
from msifr_integrations.report.plots import frontier_plot, reliability_plot, simulated_plot, stops_plot

__all__ = [
    "Figure",
    "Table",
    "frontier_plot",
    "reliability_plot",
    "simulated_plot",
    "stops_plot",
    "write_page",
]
