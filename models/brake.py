"""When a config has to be stopped because too many mails of it are unwanted."""

from dataclasses import dataclass

#: What the brake looks at, in hours.
WINDOW_H = 24


@dataclass(frozen=True, slots=True)
class Rates:
    """What became of a config's messages within the window.

    Attributes:
        sent: How many were sent.
        hard_bounces: Reported as bounced for good.
        complaints: Reported as spam.
    """

    sent: int
    hard_bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class BrakeRule:
    """How much is too much.

    Attributes:
        min_sends: Below so many sends nothing is judged.
        bounce_rate: The share of hard bounces that is still borne, 0 to 1.
        complaint_rate: Likewise of complaints; 1 never stops anything.
    """

    min_sends: int
    bounce_rate: float
    complaint_rate: float

    def reason(self, rates: Rates) -> str | None:
        """Return why to stop, as a tenant reads it; none to go on."""
        if rates.sent < self.min_sends:
            return None
        if rates.complaints > self.complaint_rate * rates.sent:
            return _reason(
                rates.complaints, rates.sent, "were reported as spam", "Find out why"
            )
        if rates.hard_bounces > self.bounce_rate * rates.sent:
            return _reason(
                rates.hard_bounces, rates.sent, "bounced for good", "Clean the lists"
            )
        return None


def _reason(count: int, sent: int, became: str, advice: str) -> str:
    share = 100 * count / sent
    return (
        f"Stopped by itself: {count} of {sent} messages ({share:.1f} %) of the last "
        f"{WINDOW_H} hours {became}. {advice}, then resume the send config."
    )
