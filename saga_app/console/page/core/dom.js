// Building the page without markup in strings: data goes in as text, so a name can never become an element.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("a", {class: "x", href: "#/users", onclick: f}, "text", child)`. null and false are left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  set(element, props);
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** An SVG element, in the same way. */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, props);
  element.append(...children.flat().filter(Boolean));
  return element;
}

function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** One of the icons that index.html defines. It is an ornament: the word next to it says the same. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Change the text only when it differs: an unchanged node is not painted again. */
export function text(element, value) {
  const next = String(value ?? "");
  if (element.textContent !== next) element.textContent = next;
}

/** A name of a person, isolated so that right-to-left text does not turn its surroundings round. */
export function name(value) {
  return h("bdi", { class: "name", title: value }, value);
}

export const $ = (selector, root = document) => root.querySelector(selector);

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}
