const narrow = innerWidth < 760;
const dark = matchMedia("(prefers-color-scheme: dark)");
// Ink and paper of the charts change places on a dark page; the colours of the data stay.
const inks = JSON.parse(document.getElementById("inks").textContent);
const widest = 1.9;

function inverted(value) {
  if (typeof value === "string") return inks[value.toLowerCase()] ?? value;
  if (Array.isArray(value)) return value.map(inverted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) =>
    [key, key === "datasets" ? part : inverted(part)]));
}

function described(spec) {
  if (narrow && spec.columns) spec.columns = 1;
  if (narrow) spec.config.legend = {...spec.config.legend, columns: 2};
  const shown = dark.matches ? inverted(spec) : spec;
  shown.config.background = "transparent";
  return shown;
}

async function draw(box, spec) {
  const tooltip = {theme: dark.matches ? "dark" : "light"};
  await vegaEmbed(box, described(spec), {mode: "vega-lite", actions: false, renderer: "svg", tooltip});
  const svg = box.querySelector("svg");
  const width = svg.viewBox.baseVal.width;
  svg.style.width = `${Math.min(widest * width, box.parentElement.clientWidth)}px`;
  svg.style.height = "auto";
}

function drawAll() {
  for (const box of document.querySelectorAll("[data-figure]"))
    draw(box, JSON.parse(document.getElementById(box.dataset.figure).textContent));
}

drawAll();
dark.addEventListener("change", drawAll);
