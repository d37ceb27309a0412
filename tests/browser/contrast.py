"""The contrast of the texts on the page."""

from tests.browser.user import User

#: JavaScript: all texts whose contrast with their background is below 4.5 : 1 (WCAG 2.2, 1.4.3), as "ratio text".
LOW_CONTRAST_TEXTS = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const rgba = (colour, below = [255, 255, 255]) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b].map((part, i) => part * a / 255 + below[i] * (1 - a / 255));
    };
    const luminance = parts => {
        const [r, g, b] = parts.map(p => p / 255).map(p => p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
        return layers.reduce((below, layer) => rgba(layer, below), [255, 255, 255]);
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        if (element.closest(".hidden, .leaving, :disabled, .skip, option, script, noscript")) continue;
        const below = background(element);
        const [a, b] = [luminance(rgba(getComputedStyle(element).color, below)), luminance(below)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${text}`);
    }
    return found;
}"""


def low_contrast_texts(user: User) -> list[str]:
    """The visible texts whose contrast with their background is below 4.5 : 1, each after its ratio."""
    return list(user.page.evaluate(LOW_CONTRAST_TEXTS))
