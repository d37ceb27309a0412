// Which view is shown: the part of the address behind the #. `#/users?q=ada`, `#/sagas/<id>` opens the drawer over the view.

import { $, h } from "./dom.js";

const TITLES = { live: "Live", users: "Users", errors: "Errors", order: "Order", system: "System" };

let views = {};
let current = null;

/** The id in the address, if the drawer is open. */
export function sagaInAddress() {
  const match = location.hash.match(/^#\/sagas\/([^?]+)/);
  return match ? decode(match[1]) : null;
}

export const sagaAddress = (id) => `#/sagas/${encodeURIComponent(id)}`;

/** The address of the view behind the drawer. */
let behind = "#/live";
export const viewAddress = () => behind;

/** The ids in the order in which the view behind the drawer shows them: where the arrow keys go. */
export const idsInView = () => (current ? views[current].ids() : []);

/** Start: `views` maps a name to {element, shown(query), hidden(), ids()}; `drawer` is {open(id), close()}. */
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

function navigate(drawer) {
  const id = sagaInAddress();
  if (id) {
    if (!current) show(behind);
    drawer.open(id);
    return;
  }
  drawer.close();
  if (current && location.hash === behind) return; // back from the drawer: the view is as it was
  if (location.hash === "#main") return $("#main").focus();
  show(location.hash || "#/live");
}

function show(address) {
  const [, name, query] = address.match(/^#\/(\w+)(?:\?(.*))?$/) ?? [];
  const next = name in views ? name : "live";
  behind = next === name ? address : "#/live";
  if (current && current !== next) {
    views[current].element.hidden = true;
    views[current].hidden();
  }
  const again = current === next;
  current = next;
  views[next].element.hidden = false;
  if (!again) scrollTo(0, 0);
  views[next].shown(new URLSearchParams(query ?? ""));
  document.title = `${TITLES[next]} · Saga`;
  document.body.dataset.view = next;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.dataset.view === next) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Remember the state of a view in the address, without a new entry in the browser's history. */
export function remember(name, query) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  behind = `#/${name}${text ? `?${text}` : ""}`;
  if (!sagaInAddress()) history.replaceState(null, "", behind);
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
