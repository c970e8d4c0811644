// The demo's page: says who is signed in, and shows each file as this visitor may see it. Sign-in is a link, sign-out a form.

const SECTIONS = [
  ["public/", "Public", "Everyone, signed in or not."],
  ["courses/drafts/", "Course drafts", "Teachers only: a deny rule keeps the students out."],
  ["courses/", "Courses", "Students and teachers."],
  ["grades/", "Grades", "Teachers only."],
  ["groups/", "Groups", "One folder for each group, for its members."],
  ["users/", "People", "One folder for each person, for that person alone."],
];
const ORDER = ["users/", "public/", "courses/", "courses/drafts/", "groups/", "grades/"];

const $ = (id) => document.getElementById(id);

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== false && value !== null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

const urlOf = (key) => "/" + key.split("/").map(encodeURIComponent).join("/");

async function json(url, credentials = "same-origin") {
  const response = await fetch(url, { credentials, headers: { accept: "application/json" } });
  return { status: response.status, body: response.ok ? await response.json() : null };
}

// --- what one visitor may see

/** The keys that the door lists for this visitor. One question, because a browser reports each refusal as an error. */
async function openKeys(me) {
  const { status, body } = await json("/-/s3objects", me.signedIn ? "same-origin" : "omit");  // an old cookie would be refused
  if (!body) throw new Error(`the files could not be listed (${status})`);
  return new Set(body.Contents.map((one) => one.Key));
}

/** What the door answers this visitor about one file: { status, explained }. */
async function answerAbout(key, me, open) {
  const explained = me.signedIn ? (await json(`/-/explain?key=${encodeURIComponent(key)}`)).body : null;
  return { status: open.has(key) ? 200 : me.signedIn ? 403 : 401, explained };
}

/** If no rule decided: the allow rule that matches this path, but not this visitor. */
const nearest = (explained) => explained.allowed || explained.rule ? undefined
  : explained.rules.find((one) => one.effect === "allow" && !one.applies && one.reason !== "the path does not match");

/** Why, in a few words: the rule that decided, or else the nearest. */
function reason(explained, status) {
  if (!explained) return status === 200 ? "Anyone may read this" : "Sign in to see whether it is for you";
  const deciding = explained.rules.find((one) => one.rule === explained.rule);
  if (explained.allowed) return explained.reason;
  if (deciding) return `${deciding.rule} denies ${deciding.path}`;
  const near = nearest(explained);
  return near ? `${near.rule}: ${near.reason}` : explained.reason;
}

function kind(key) {
  const ending = key.slice(key.lastIndexOf(".") + 1);
  if (["png", "svg"].includes(ending)) return "picture";
  if (ending === "wav") return "sound";
  return ["md", "txt", "csv"].includes(ending) ? "text" : "document";
}

async function preview(file) {
  const url = urlOf(file.key), what = kind(file.key);
  if (what === "picture") {
    const picture = el("img", { src: url, alt: file.title, width: 640, height: 420, loading: "lazy" });
    return el("a", { class: "view", href: url, "aria-label": `Open ${file.title}` }, picture);
  }
  if (what === "sound") {
    return el("div", { class: "view sound" }, icon("note"),
      el("audio", { controls: true, preload: "metadata", src: url, "aria-label": file.title }));
  }
  if (what === "text") {
    const text = await (await fetch(url)).text();
    return el("a", { class: "view text", href: url, "aria-label": `Open ${file.title}` },
      el("pre", {}, text.split("\n").slice(0, 9).join("\n")));
  }
  const ending = file.key.slice(file.key.lastIndexOf(".") + 1).toUpperCase();
  return el("a", { class: "view document", href: url, "aria-label": `Open ${file.title} (${ending})` },
    icon("page"), el("span", {}, ending));
}

function locked(status) {
  const words = status === 401 ? "Who are you?" : "Not for you";
  return el("div", { class: "view locked" }, icon("lock"), el("span", {}, words));
}

async function card(file, me, keys) {
  const answer = await answerAbout(file.key, me, keys);
  const open = answer.status === 200;
  const name = file.key.slice(file.key.lastIndexOf("/") + 1);
  const why = el("button", {
    class: "quiet", type: "button", "aria-haspopup": "dialog", "aria-label": `Why? ${file.title}`,
    onclick: () => showWhy(file, me, answer),
  }, "Why?");
  return el("li", { class: open ? "card" : "card closed", "data-key": file.key, "data-status": answer.status },
    open ? await preview(file) : locked(answer.status),
    el("div", { class: "about" },
      el("h3", {}, file.title),
      el("p", { class: "key" }, open ? el("a", { href: urlOf(file.key) }, name) : name,
        el("span", { class: "code" }, String(answer.status))),
      el("p", { class: "reason" }, reason(answer.explained, answer.status)),
      why));
}

function showWhy(file, me, { status, explained }) {
  $("why-title").textContent = file.key;
  $("why-verdict").className = status === 200 ? "verdict yes" : "verdict no";
  if (!explained) {
    $("why-verdict").textContent = status === 200
      ? "200: anyone may read this file."
      : "401: you are not signed in. The rules are shown only to users who are.";
    $("why-rules").replaceChildren();
  } else {
    const who = me.person.name, near = nearest(explained);
    $("why-verdict").textContent = explained.allowed
      ? `${status}: ${who} may read this file: ${explained.reason}.`
      : `${status}: ${who} may not read this file: ${explained.reason}.`;
    $("why-rules").replaceChildren(...explained.rules.map((one) => ruleLine(one, explained.rule, near)));
  }
  $("why").showModal();
}

function ruleLine(one, deciding, near) {
  const state = one.applies ? one.effect : "no";
  const marked = one.rule === deciding || one === near;
  return el("li", { class: `rule ${state}`, "aria-current": marked ? "true" : null },
    el("span", { class: "mark", "aria-hidden": "true" }, { allow: "✓", deny: "✕", no: "–" }[state]),
    el("span", { class: "rule-name" }, one.rule),
    el("code", {}, one.path),
    el("span", { class: "rule-reason" },
      one.applies ? `${one.effect === "allow" ? "allows" : "denies"} it${one.rule === deciding ? ": this decides" : ""}` : one.reason));
}

async function showFiles(config, me) {
  const keys = await openKeys(me);
  const sections = new Map(ORDER.map((prefix) => [prefix, []]));
  for (const file of config.files) {
    const [prefix] = SECTIONS.find(([start]) => file.key.startsWith(start));
    sections.get(prefix).push(card(file, me, keys));
  }
  const cards = [];
  for (const prefix of ORDER) {
    const [, title, words] = SECTIONS.find(([start]) => start === prefix);
    const found = await Promise.all(sections.get(prefix));
    cards.push(...found);
    const id = `s-${prefix.replaceAll("/", "")}`;
    $("files").append(el("section", { class: "folder", "aria-labelledby": id },
      el("div", { class: "folder-head" }, el("h2", { id }, title), el("p", {}, el("code", {}, prefix), " ", words)),
      el("ul", { class: "grid" }, ...found)));
  }
  const open = cards.filter((one) => one.dataset.status === "200").length;
  const who = me.signedIn ? me.person.name : "A visitor who is not signed in";
  $("status").textContent = `${who} may read ${open} of ${cards.length} files.`;
  document.body.dataset.ready = "true";
}

// --- who is here

const face = (person) => el("span", { class: "face", "data-person": person.sub, "aria-hidden": "true" }, person.name[0]);

function showPeople(config, me) {
  for (const person of config.people) {
    const here = me.signedIn && me.sub === person.sub;
    $("people").append(el("li", { "aria-current": here ? "true" : null }, face(person),
      el("span", { class: "who" }, el("strong", {}, person.name), el("span", {}, (person.groups.join(", ") || "no group") + (here ? " · you" : "")))));
  }
  $("sign-in").hidden = me.signedIn;
  $("sign-out").hidden = $("somebody-else").hidden = !me.signedIn;
  if (!me.signedIn) return;
  $("me").append(face(me.person), el("span", {}, el("span", { class: "extra" }, "Signed in as "), el("strong", {}, me.sub)));
}

// --- for the terminal

function command(text, words) {
  const button = el("button", { class: "quiet", type: "button", "aria-label": `Copy: ${words}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return el("div", { class: "command" }, el("p", {}, words), el("pre", { tabindex: 0 }, el("code", {}, text)), button);
}

function showCommands(config, me) {
  const { site } = config, who = me.signedIn ? me.sub : "ann";
  const other = who === "ben" ? "ann/notes.md" : "ben/essay.txt";
  const own = { ann: "users/ann/notes.md", ben: "users/ben/essay.txt", tess: "users/tess/timetable.csv" }[who] ?? "users/gil/lights.png";
  const lines = [
    command(`T=$(cat ${config.tokens}/${who}.token)`, "Keep a token in a variable"),
    command(`curl -I -H "Authorization: Bearer $T" ${site}/${own}`, `A file of ${who}: 200`),
    command(`curl -I --cookie "token=$T" ${site}/users/${other}`, "Another user's file, with the token in a cookie: 403"),
    command(`curl -s -H "Authorization: Bearer $T" "${site}/-/explain?key=users/${other}"`, "And why"),
  ];
  if (who !== "gil") lines.push(command(`curl -I -r 0-999 -H "Authorization: Bearer $T" ${site}/courses/night-sky/listening.wav`, "Part of the sound: 206"));
  lines.push(command(`curl -i ${site}/users/ann/notes.md`, "Without a token: 401"));
  $("try-text").textContent = `The demo has put a token of ${who}, valid for an hour, into a file. It opens nothing but this demo.`;
  $("try").append(...lines);
}

async function main() {
  const [site, files] = await Promise.all([json("/app/site.json"), json("/app/files.json")]);
  const config = { ...site.body, files: files.body };
  if (location.origin !== config.site) {  // http://localhost is another origin, with cookies of its own
    location.replace(config.site + location.pathname + location.search);
    return;
  }
  const { body } = await json("/-/whoami");
  const me = body ?? { signedIn: false };
  if (me.signedIn) me.sub ||= me.claims.sub[0];  // a session holds every claim as a list
  me.person = config.people.find((one) => one.sub === me.sub) ?? { sub: me.sub, name: me.sub ?? "?", groups: [] };
  $("policy").textContent = config.rules;
  showPeople(config, me);
  showCommands(config, me);
  await showFiles(config, me);
}

$("why-close").addEventListener("click", () => $("why").close());
$("why").addEventListener("click", (event) => { if (event.target === $("why")) $("why").close(); });
main().catch((error) => { $("status").textContent = `The page could not be filled: ${error.message}`; });
