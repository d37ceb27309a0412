// Rows that do not move: a user takes the first free place, and keeps it until the end. Only when most of the list has
// emptied above them do the last few come up, so that nobody is left alone out of sight.

const HOLES = 10;

export class Slots {
  constructor() {
    this.places = [];
    this.slotOf = new Map();
  }

  /** The ids that are there (a set) keep their places; at most `limit` have one, and newcomers get the free ones in order. */
  arrange(present, newcomers, limit) {
    for (const [id, slot] of this.slotOf) {
      if (present.has(id) && slot < limit) continue;
      this.slotOf.delete(id);
      this.places[slot] = null;
    }
    let free = 0;
    for (const id of newcomers) {
      if (this.slotOf.has(id)) continue;
      while (free < limit && this.places[free] != null) free += 1;
      if (free >= limit) break;
      this.places[free] = id;
      this.slotOf.set(id, free);
    }
    this.#trim();
    if (this.length > this.taken + HOLES) this.#gather();
  }

  #gather() {
    for (let free = this.places.indexOf(null); free >= 0 && free < this.length; free = this.places.indexOf(null)) {
      const id = this.places.pop();
      this.places[free] = id;
      this.slotOf.set(id, free);
      this.#trim();
    }
  }

  #trim() {
    while (this.places.length && this.places.at(-1) == null) this.places.pop();
  }

  /** [slot, id] from the top. */
  entries() {
    return this.places.map((id, slot) => [slot, id]).filter(([, id]) => id != null);
  }

  get taken() {
    return this.slotOf.size;
  }

  get length() {
    return this.places.length;
  }
}
