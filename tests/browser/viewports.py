"""Window sizes, in CSS pixels."""

from playwright.sync_api import ViewportSize

DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
