// Figures in words, elements, and the colour of a value.

const grouped = new Map();

function figure(number, decimals = 0) {
  if (!grouped.has(decimals)) {
    const digits = Math.min(20, decimals);
    grouped.set(
      decimals,
      new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
  }
  return grouped.get(decimals).format(number);
}

const money = (amount) => `${figure(amount, 2)} ${contents.currency}`;

// The figure of a column in a row, with the decimals that it was stored with: never more than are known.
const stored = ({ numbers, unit, decimals }, row) => figure(numbers[row] * unit, decimals);

// Text is only ever set as text: names and notes come from files.
function element(kind, text = "", properties = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  made.textContent = text;
  return made;
}

function definitions(pairs) {
  const list = element("dl");
  for (const [name, text] of pairs) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", text));
    list.append(pair);
  }
  return list;
}

function colourIndex(value) {
  const { low, high } = contents.scale;
  const share = high > low ? (value - low) / (high - low) : 1;
  return Math.max(0, Math.min(contents.colours.length - 1, Math.floor(share * contents.colours.length)));
}

const cssColours = contents.colours.map(([red, green, blue]) => `rgb(${red} ${green} ${blue})`);

function drawLegend(decimals) {
  const { low, high, clippedLow, clippedHigh } = contents.scale;
  const ramp = byId("ramp");
  const pen = ramp.getContext("2d");
  cssColours.forEach((colour, index) => {
    pen.fillStyle = colour;
    const from = Math.round((index * ramp.width) / cssColours.length);
    pen.fillRect(from, 0, ramp.width, 1);
  });
  const words = [
    `${clippedLow ? "≤ " : ""}${figure(low, decimals)}`,
    `${clippedHigh ? "≥ " : ""}${figure(high, decimals)}`,
  ];
  [byId("legend-low").textContent, byId("legend-high").textContent] = words;
  byId("legend").setAttribute("aria-label", `Colours from ${words[0]} (dark) to ${words[1]} (bright), in ${contents.valueUnit}`);
}

