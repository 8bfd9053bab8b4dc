{% include "charts.js" %}

const place = name => document.getElementById(name);
const looks = 3000;
let revision = null;

function element(kind, text, parent) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text ?? "–";
  parent?.append(made);
  return made;
}

function table(box, rows, none) {
  box.replaceChildren();
  if (!rows.length) return element("p", none, box);
  const made = element("table", undefined, box);
  const head = element("tr", undefined, element("thead", undefined, made));
  for (const name of Object.keys(rows[0])) element("th", name, head);
  const body = element("tbody", undefined, made);
  for (const row of rows) {
    const line = element("tr", undefined, body);
    for (const value of Object.values(row)) element("td", value, line);
  }
}

function failures(rows) {
  const open = new Set([...document.querySelectorAll("#failures details[open]")].map(one => one.dataset.run));
  place("failures").replaceChildren();
  if (!rows.length) element("p", "None.", place("failures"));
  for (const row of rows) {
    const made = element("details", undefined, place("failures"));
    made.dataset.run = row.run;
    made.open = open.has(row.run);
    element("summary", `${row.run} (${row.regime}) at step ${row.step}: ${row.error}`, made);
    element("pre", row.traceback, made);
  }
}

async function figures(study) {
  const answer = await fetch(`/figures?study=${encodeURIComponent(study)}`);
  if (!answer.ok) return;
  const drawn = await answer.json();
  const boxes = place("figures");
  const kept = new Map([...boxes.children].map(one => [one.id, one]));
  boxes.replaceChildren(...drawn.map(figure => {
    const made = kept.get(figure.name) ?? element("figure");
    if (!made.id) {
      made.id = figure.name;
      element("div", undefined, made);
      element("figcaption", figure.caption, made);
    }
    return made;
  }));
  for (const figure of drawn) await draw(place(figure.name).firstChild, figure.spec);
}

async function look() {
  const study = place("study").value;
  const answer = await fetch(`/state?study=${encodeURIComponent(study)}`).catch(() => null);
  if (!answer?.ok) {
    place("when").textContent = answer ? await answer.text() : "the server does not answer; is it still running?";
    return;
  }
  const now = await answer.json();
  document.title = `${study}: ${now.ended}/${now.runs}`;
  place("hypothesis").textContent = now.hypothesis;
  place("headline").textContent = now.headline;
  place("progress").value = now.share;
  place("when").textContent = now.driver ?? "nobody is training it now";
  place("answer").replaceChildren();
  for (const sentence of now.sentences) element("p", sentence, place("answer"));
  table(place("regimes"), now.regimes, "No run has begun.");
  table(place("events"), now.events, "None yet.");
  failures(now.failures);
  const seen = `${study} ${now.revision}`;
  if (seen !== revision) {
    revision = seen;
    await figures(study);
  }
}

async function follow() {
  await look();
  setTimeout(follow, looks);
}

place("study").addEventListener("change", look);
follow();
