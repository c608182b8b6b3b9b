"""How sizes and numbers read in messages and statuses."""

from typing import Final

_BINARY_UNITS: Final = tuple(
    (f"{prefix}i", 2**power) for prefix, power in zip("PTGMK", (50, 40, 30, 20, 10), strict=True)
)


def format_bytes(amount: int) -> str:
    """Return bytes as a quantity in the largest binary unit that is exact, else to a tenth of a unit, else plain.

    Sizes under 1Mi stay exact; above, measured sizes are rounded so that they read well (`1.4Gi`).
    """
    for suffix, unit in _BINARY_UNITS:
        if amount >= unit and amount % unit == 0:
            return f"{amount // unit}{suffix}"
        if amount >= unit >= 2**20:
            return f"{amount / unit:.1f}".removesuffix(".0") + suffix
    return str(amount)


def counted(number: int, what: str) -> str:
    """Return `1 pod`, `2 pods`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
