"""How many workers a run on a cluster has, and what each of them may use."""

import math

import msgspec

from msifr_policy.errors import InputError


class RayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a run on Ray is given.

    workers: engines, each in a process of its own, with `slots` attempts side by side.
    address: of a running cluster, such as `auto` or `host:6379`; "" is the one that the process is connected to or that
        the variable RAY_ADDRESS names, else one that is started here and shut down in the end.
    cpus_per_worker, gpus_per_worker: what Ray reserves for each; parts of one are shares.

    Raises `InputError` for what no cluster can reserve.
    """

    workers: int = 1
    address: str = ""
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers = {self.workers} must be at least 1", where="ray")
        for name, least in (("cpus_per_worker", 0.01), ("gpus_per_worker", 0.0)):
            amount = getattr(self, name)
            if not (math.isfinite(amount) and amount >= least):
                raise InputError(f"{name} = {amount} must be at least {least:g}", where="ray")
            if amount > 1 and amount != int(amount):
                raise InputError(f"{name} = {amount} is no share and no whole number", where="ray")


ONE_WORKER = RayOptions()
