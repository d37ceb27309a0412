// Addresses within the page, in the hash: `#/users?q=ada` is a view, `#/sagas/<id>` a saga.

/** @param {string} id */
export const sagaAddress = (id) => `#/sagas/${encodeURIComponent(id)}`;

/**
 * The saga id in a hash, or null.
 * @param {string} hash
 */
export function sagaIn(hash) {
  const match = hash.match(/^#\/sagas\/([^?]+)/);
  return match ? decode(match[1]) : null;
}

/**
 * The view in a hash, with its query. A hash without one of these views is the address of the first.
 * @param {string} hash
 * @param {string[]} names
 */
export function viewIn(hash, names) {
  const match = hash.match(/^#\/(\w+)(?:\?(.*))?$/);
  const query = new URLSearchParams(match?.[2] ?? "");
  return match && names.includes(match[1])
    ? { name: match[1], address: hash, query }
    : { name: names[0], address: `#/${names[0]}`, query };
}

/**
 * The address of a view. Empty values are left out of the query.
 * @param {string} name
 * @param {Record<string, string>} query
 */
export function viewAddress(name, query) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#/${name}${text ? `?${text}` : ""}`;
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
