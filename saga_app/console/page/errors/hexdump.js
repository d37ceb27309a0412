// Readable forms of a message body.

const BYTES_PER_LINE = 16;
const MAX_BYTES = 4096;

/** Indent JSON; return any other text unchanged. @param {string} text */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Offset, bytes and printable characters, as in `hexdump -C`; at most MAX_BYTES. @param {string} base64 */
export function hexdump(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, MAX_BYTES); at += BYTES_PER_LINE) lines.push(line(bytes, at));
  if (bytes.length > MAX_BYTES) lines.push(`… ${MAX_BYTES} of ${bytes.length} bytes`);
  return lines.join("\n");
}

/** @param {Uint8Array} bytes @param {number} at */
function line(bytes, at) {
  const some = [...bytes.subarray(at, at + BYTES_PER_LINE)];
  const hex = some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const readable = some.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
  return `${at.toString(16).padStart(6, "0")}  ${hex.padEnd(3 * BYTES_PER_LINE - 1)}  ${readable}`;
}
