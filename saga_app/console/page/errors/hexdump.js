// A message as a person reads it.

const LINE = 16;
/** More than this of an unreadable message tells nobody anything. Bytes. */
const DUMPED = 4096;

/** JSON laid out; any other text as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Offset, bytes, and what of them can be read, as `hexdump -C` shows it. */
export function hexdump(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, DUMPED); at += LINE) lines.push(line(bytes, at));
  if (bytes.length > DUMPED) lines.push(`… ${DUMPED} of ${bytes.length} bytes`);
  return lines.join("\n");
}

function line(bytes, at) {
  const some = [...bytes.subarray(at, at + LINE)];
  const hex = some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const readable = some.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
  return `${at.toString(16).padStart(6, "0")}  ${hex.padEnd(3 * LINE - 1)}  ${readable}`;
}
