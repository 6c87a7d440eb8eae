"""A validator of one's own: who shouts is not accepted. `msifr fit --validators default,custom_validator:Shouting` …"""

from msifr_policy import Evidence, Tally, Verdict
from msifr_policy.testing import check_validator


class Shouting(Tally, frozen=True):
    name = "shouting"
    columns = ("capitals",)
    most: int = 20

    def read(self, text: str, scores: tuple[float, ...]) -> Evidence:
        capitals = scores[0] + sum(map(str.isupper, text))
        return Evidence(Verdict.DEAD if capitals > self.most else Verdict.UNKNOWN, (capitals,))


if __name__ == "__main__":
    check_validator(Shouting)
    print(Shouting(most=3).start("a prompt").feed("Four: A, B, C."))
