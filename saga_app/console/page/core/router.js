// Routing by the hash of the address: `#/users?q=ada` shows a view, `#/sagas/<id>` opens the drawer over the view.

import { sagaIn, viewAddress, viewIn } from "./address.js";
import { $, h } from "./dom.js";

/** @type {Record<string, string>} */
const TITLES = { live: "Live", users: "Users", errors: "Errors", order: "Order", system: "System" };

/** @type {Record<string, View>} */
let views = {};
/**
 * The name of the view shown.
 * @type {string | null}
 */
let current = null;
/** The hash of the current view, also while the drawer covers it. */
let viewHash = "#/live";

/** The saga id in the address, or null if the drawer is closed. */
export const sagaInAddress = () => sagaIn(location.hash);

/** The address of the view, to return to when the drawer closes. */
export const currentView = () => viewHash;

/** The saga ids of the current view, in the order shown. The arrow keys of the drawer step through them. */
export const idsInView = () => (current ? views[current].ids() : []);

/**
 * Add the views to the page, and show the one in the address.
 * @param {Record<string, View>} allViews
 * @param {{ open(id: string): void, close(): void }} drawer
 */
export function router(allViews, drawer) {
  views = allViews;
  for (const [name, view] of Object.entries(views)) {
    view.element.hidden = true;
    view.element.classList.add("view");
    view.element.prepend(h("h1", { class: "hidden" }, TITLES[name]));
    $("#main").append(view.element);
  }
  const go = () => navigate(drawer);
  addEventListener("hashchange", go);
  go();
}

/** @param {{ open(id: string): void, close(): void }} drawer */
function navigate(drawer) {
  const id = sagaInAddress();
  if (id) {
    if (!current) show(viewHash);
    drawer.open(id);
    return;
  }
  drawer.close();
  if (current && location.hash === viewHash) return; // the drawer was closed: the view has not changed
  if (location.hash === "#main") return $("#main").focus();
  show(location.hash || "#/live");
}

/** @param {string} address */
function show(address) {
  const { name: next, address: hash, query } = viewIn(address, Object.keys(views));
  viewHash = hash;
  const isSame = current === next;
  if (current && !isSame) {
    views[current].element.hidden = true;
    views[current].hidden();
  }
  current = next;
  views[next].element.hidden = false;
  if (!isSame) scrollTo(0, 0);
  views[next].shown(query);
  document.title = `${TITLES[next]} · Saga`;
  document.body.dataset.view = next;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.getAttribute("data-view") === next) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/**
 * Put the state of a view into the address, without a new entry in the browser's history.
 * @param {string} name
 * @param {Record<string, string>} query
 */
export function remember(name, query) {
  viewHash = viewAddress(name, query);
  if (!sagaInAddress()) history.replaceState(null, "", viewHash);
}
