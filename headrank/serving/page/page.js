// The page of the service: asks /explain and shows the ranking with its highlighted tokens. No dependencies.
"use strict";

const part = (id) => document.getElementById(id);
const STRONGEST = 0.6; // opacity of the strongest contribution
const SHOWN = 0.01; // contributions below this share of the strongest are not highlighted
const SUMS = {
  score: "The tokens of a passage add up to its score.",
  score_shares: "The score of each head is spread over the tokens in proportion to their attention.",
  attention: "The tokens of a passage add up to its attention mass; the score is the mass's logarithm.",
};

function readPassages(text) {
  const separator = /\n[ \t]*\n/.test(text.trim()) ? /\n[ \t]*\n/ : /\n/;
  return text.split(separator).map((passage) => passage.trim()).filter((passage) => passage);
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// The text with its tokens highlighted. Spans count code points, JavaScript's strings UTF-16 units.
function highlighted(text, tokens, strongest) {
  const points = Array.from(text);
  const made = document.createDocumentFragment();
  let end = 0;
  for (const token of tokens) {
    if (token.start > end) made.append(points.slice(end, token.start).join(""));
    const start = Math.max(token.start, end);
    if (token.end <= start) continue;
    end = token.end;
    const words = points.slice(start, end).join("");
    const weight = strongest ? Math.abs(token.contribution) / strongest : 0;
    if (weight < SHOWN) {
      made.append(words);
      continue;
    }
    const mark = element("mark", token.contribution > 0 ? "up" : "down", words);
    mark.style.setProperty("--weight", (Math.sqrt(weight) * STRONGEST).toFixed(3));
    mark.title = token.contribution.toPrecision(3);
    made.append(mark);
  }
  if (end < points.length) made.append(element("span", tokens.length ? "unread" : "", points.slice(end).join("")));
  return made;
}

function strongestOf(tokens) {
  return tokens.reduce((most, token) => Math.max(most, Math.abs(token.contribution)), 0);
}

function passageItem(passage, strongest) {
  const item = element("li");
  const head = element("div", "head");
  head.append(element("strong", "", `${passage.rank}.`), element("span", "", `passage ${passage.index + 1}`));
  if (passage.truncated) head.append(element("span", "", "cut"));
  head.append(element("span", "score", passage.score.toPrecision(4)));
  const text = element("p", "text");
  text.append(highlighted(passage.text, passage.tokens, strongest));
  item.append(head, text);
  return item;
}

function show(explanation) {
  const strongest = strongestOf(explanation.passages.flatMap((passage) => passage.tokens));
  part("asked").replaceChildren(
    "Query: ", highlighted(explanation.query, explanation.query_tokens, strongestOf(explanation.query_tokens)));
  part("ranking").replaceChildren(...explanation.passages.map((passage) => passageItem(passage, strongest)));
  part("sums").textContent = SUMS[explanation.adds_up_to] || "";
  part("cut").hidden = !explanation.passages.some((passage) => passage.truncated) && !explanation.query_truncated;
  part("results").hidden = false;
}

function fail(message) {
  part("error").textContent = message;
  part("error").hidden = false;
}

async function explain(query, passages) {
  const headers = { "content-type": "application/json" };
  if (part("key").value) headers.authorization = `Bearer ${part("key").value}`;
  const answer = await fetch("/explain", { method: "POST", headers, body: JSON.stringify({ query, passages }) });
  const body = await answer.json();
  if (answer.status === 401) part("access").open = true;
  if (!answer.ok) throw new Error(body.message || `status ${answer.status}`);
  return body;
}

async function rank(event) {
  event.preventDefault();
  part("error").hidden = true;
  const passages = readPassages(part("passages").value);
  if (!passages.length) return fail("Enter at least one passage.");
  part("rank").disabled = true;
  part("status").textContent = `Ranking ${passages.length} passage${passages.length > 1 ? "s" : ""} …`;
  const start = performance.now();
  try {
    show(await explain(part("query").value, passages));
    part("status").textContent = `${((performance.now() - start) / 1000).toFixed(1)} s`;
  } catch (error) {
    part("status").textContent = "";
    part("results").hidden = true;
    fail(error instanceof TypeError ? "The server does not answer." : error.message);
  } finally {
    part("rank").disabled = false;
  }
}

async function loadSample() {
  try {
    const sample = await (await fetch("/page/sample.json")).json();
    part("query").value = sample.query;
    part("passages").value = sample.passages.join("\n");
  } catch {
    fail("The sample cannot be loaded.");
  }
}

part("form").addEventListener("submit", rank);
part("sample").addEventListener("click", loadSample);
part("passages").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("form").requestSubmit();
});
fetch("/health").then((answer) => answer.json()).then((health) => {
  part("model").textContent = `Serves ${health.model}. Ranks passages by the attention that it pays to them.`;
}).catch(() => {});
