// Contents and columns, as geozoom/page/packing.py packed them.

const byId = (id) => document.getElementById(id);
const contents = JSON.parse(byId("contents").textContent);

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpackColumns(base64, heads) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = {};
  let at = 0;
  for (const { name, length: n, unit, decimals, smooth } of heads) {
    const numbers = new Int32Array(n);
    let before = 0;
    for (let i = 0; i < n; i += 1) {
      const packed =
        bytes[at + i] | (bytes[at + n + i] << 8) | (bytes[at + 2 * n + i] << 16) | (bytes[at + 3 * n + i] << 24);
      const number = (packed >>> 1) ^ -(packed & 1);
      before = smooth ? (before + number) | 0 : number;
      numbers[i] = before;
    }
    at += 4 * n;
    columns[name] = { numbers, unit, decimals };
  }
  return columns;
}

// A column turned into another kind of array, number by number; `from` of a typed array is far slower.
function converted(Kind, { numbers, unit }, convert) {
  const made = new Kind(numbers.length);
  for (let i = 0; i < numbers.length; i += 1) made[i] = convert(numbers[i] * unit);
  return made;
}

// A column of lengths on the map.
const inPixels = (column) => converted(Float32Array, column, (length) => length);

