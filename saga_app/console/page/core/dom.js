// DOM helpers. Data is inserted as text, never as markup, so user input cannot inject elements.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Create an element: `h("a", { class: "x", href: "#/users", onclick: f }, "text", child)`.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes] null, undefined and false are left out
 * @param {...(Child | readonly Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  const present = children.flat().filter((child) => child != null && child !== false);
  element.append(.../** @type {(Node | string)[]} */ (present)); // append() converts numbers to text
  return element;
}

/**
 * Create an SVG element, with the arguments of `h()`.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...SVGElement} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/** @param {Element} element @param {Attributes} attributes */
function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (typeof value === "function") {
      element.addEventListener(name.slice("on".length), /** @type {EventListener} */ (value));
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/**
 * An icon defined in index.html. It is hidden from screen readers: the text next to it has the same meaning.
 * @param {string} name
 */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/**
 * Set the text of an element only if it differs, which avoids a repaint.
 * @param {Node} element
 * @param {string | number | null | undefined} value
 */
export function text(element, value) {
  const next = String(value ?? "");
  if (element.textContent !== next) element.textContent = next;
}

/**
 * A person's name, isolated so that right-to-left text does not reorder the text around it.
 * @param {string} value
 */
export function name(value) {
  return h("bdi", { class: "name", title: value }, value);
}

/**
 * The first element that matches; throws if there is none.
 * @template {string} S
 * @param {S} selector
 * @param {ParentNode} [root]
 * @returns {S extends keyof PageElements ? PageElements[S] : HTMLElement}
 */
export function $(selector, root = document) {
  const element = root.querySelector(selector);
  if (!element) throw new Error(`no element matches ${selector}`);
  return /** @type {S extends keyof PageElements ? PageElements[S] : HTMLElement} */ (element);
}

/** @param {HTMLElement} element @param {boolean} visible */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}
