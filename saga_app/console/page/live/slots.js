// Assigns list positions to users. Rows do not move: a user takes the first free slot and keeps it until the end.
// Only when many slots are empty, the last rows move up to fill them, so that no row stays out of view.

/** The number of empty slots above which the rows move up. */
const HOLES = 10;

export class Slots {
  constructor() {
    /** @type {(string | null)[]} */
    this.places = [];
    /** @type {Map<string, number>} */
    this.slotOf = new Map();
  }

  /**
   * Ids in `present` keep their slots, others lose them. `arrivals` get the free ones in order, up to `limit` slots.
   * @param {Set<string>} present
   * @param {string[]} arrivals
   * @param {number} limit
   */
  arrange(present, arrivals, limit) {
    for (const [id, slot] of this.slotOf) {
      if (present.has(id) && slot < limit) continue;
      this.slotOf.delete(id);
      this.places[slot] = null;
    }
    let free = 0;
    for (const id of arrivals) {
      if (this.slotOf.has(id)) continue;
      while (free < limit && this.places[free] != null) free += 1;
      if (free >= limit) break;
      this.places[free] = id;
      this.slotOf.set(id, free);
    }
    this.#trim();
    if (this.length > this.taken + HOLES) this.#gather();
  }

  /** Move the last ids into the empty slots. Expects a trimmed list. */
  #gather() {
    for (let free = this.places.indexOf(null); free >= 0 && free < this.length; free = this.places.indexOf(null)) {
      const id = this.places.pop();
      if (id == null) return;
      this.places[free] = id;
      this.slotOf.set(id, free);
      this.#trim();
    }
  }

  /** Remove the empty slots at the end. */
  #trim() {
    while (this.places.length && this.places.at(-1) == null) this.places.pop();
  }

  /** The taken slots as [slot, id], from the top. */
  entries() {
    /** @type {[number, string][]} */
    const entries = [];
    for (const [slot, id] of this.places.entries()) if (id != null) entries.push([slot, id]);
    return entries;
  }

  get taken() {
    return this.slotOf.size;
  }

  get length() {
    return this.places.length;
  }
}
