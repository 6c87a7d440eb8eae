"""How a forecast of a whole run is said: each number with its interval, and what it takes for granted."""

from collections.abc import Callable

from msifr_integrations.cli.live_view import clock
from msifr_integrations.generation.forecast import Forecast, Foretold
from msifr_integrations.generation.goals import amount

_ENDS = {
    "prompts": "when all attempts are made",
    "accepted": "at the wanted number of accepted samples",
    "max_tokens": "at its limit of tokens",
    "max_cost": "at its limit of cost",
}


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return what the whole run will come to, in lines."""
    f = forecast
    lines = [
        f"forecast of the whole run, by {f.prompts_drawn} prompts drawn from it by chance "
        f"([in brackets]: {f.ci_level:.0%} intervals, prompts taken as independent):",
        f"it ends {_ENDS[f.ends_by]}, after {_told(f.prompts)} prompts and {_told(f.attempts)} attempts",
        f"accepted samples     = {_told(f.accepted)}",
        f"tokens               = {_told(f.tokens)}, those in flight at the end included",
    ]
    lines += [f"tokens of prompts    = {_told(f.prompt_tokens)}"] if f.prompt_tokens is not None else []
    if f.seconds is not None and f.tokens_per_second is not None:
        lines.append(f"time                 = {_told(f.seconds, clock)}, without loading the model, {_speed(f)}")
    lines += [f"cost                 = {_told(f.cost, amount)}"] if isinstance(f.cost, Foretold) else []
    return [*lines, "to go on, start the same command without --preview: what is made is part of the run"]


def _speed(forecast: Forecast) -> str:
    """Return at what speed a time is told, and when that was seen."""
    rate, at_work, slots = forecast.tokens_per_second or 0.0, forecast.at_work, forecast.slots
    at = f"at {rate:,.0f} tokens a second"
    if not at_work:
        return f"{at} as until now, slots that stood empty included"
    filled = f"{at} as with {at_work} of {slots} slots at work"
    return f"{filled}; more at work may be faster" if at_work < slots else filled


def _told(estimate: Foretold, how: Callable[[float], str] = "{:,.0f}".format) -> str:
    """Return an estimate with its interval; alone where that is one number."""
    told, low, high = how(estimate.expected), how(estimate.low), how(estimate.high)
    return told if told == low == high else f"{told} [{low}, {high}]"
