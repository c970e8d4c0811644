// The demo's page: signs people in (authorization code + PKCE), then shows each file as this visitor may see it.

const KEPT = "stagedoor-demo";
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

// --- signing in

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const kept = () => JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
const keep = (values) => sessionStorage.setItem(KEPT, JSON.stringify(values));

/** The URL of this site that the visitor asked for, or "". A whole URL, because a path can lead elsewhere ("//"). */
function wanted(config) {
  const next = new URLSearchParams(location.search).get("next");
  if (!next) return "";
  try {
    const url = new URL(next, config.site);
    return url.origin === config.site ? url.href : "";
  } catch {
    return "";
  }
}

async function signIn(config, person = "") {
  const verifier = random(), state = random(), nonce = random();
  keep({ verifier, state, nonce, next: wanted(config) });
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  const query = new URLSearchParams({
    response_type: "code", client_id: config.client, redirect_uri: config.site + "/", scope: "openid email profile",
    state, nonce, code_challenge: challenge, code_challenge_method: "S256",
  });
  if (person) query.set("login_hint", person);
  location.assign(`${config.issuer}/authorize?${query}`);
}

/** Back from the provider: trade the code for tokens, and the id token for a session. Returns the URL to go to. */
async function finishSignIn(config, answer) {
  const { verifier, state, nonce, next } = kept();
  keep({});
  history.replaceState(null, "", "/");
  if (!state || answer.get("state") !== state || answer.get("iss") !== config.issuer) {
    throw new Error("That sign-in did not start in this tab, so it was not finished. Please sign in again.");
  }
  if (answer.has("error")) throw new Error(`The provider answered: ${answer.get("error")}.`);
  const response = await fetch(`${config.issuer}/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code", client_id: config.client, redirect_uri: config.site + "/",
      code: answer.get("code"), code_verifier: verifier,
    }),
  });
  const tokens = await response.json();
  if (!response.ok) throw new Error(`The provider answered: ${tokens.error_description}.`);
  const payload = tokens.id_token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  if (JSON.parse(atob(payload)).nonce !== nonce) throw new Error("The token does not belong to this sign-in.");
  const session = await fetch("/-/session", { method: "POST", headers: { authorization: `Bearer ${tokens.id_token}` } });
  if (session.status !== 204) throw new Error(`The door did not accept the token (${session.status}).`);
  // The demo keeps a token where scripts can read it, so that it can be copied for curl. Your site should not.
  keep({ token: tokens.access_token });
  return next;
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
    const button = el("button", { type: "button", "aria-pressed": here ? "true" : "false", onclick: () => signIn(config, person.sub) },
      face(person),
      el("span", { class: "who" }, el("strong", {}, person.name), el("span", {}, person.groups.join(", ") || "no group")));
    $("people").append(el("li", {}, button));
  }
  const signInButton = $("sign-in");
  signInButton.hidden = false;
  signInButton.textContent = me.signedIn ? "Switch user" : "Sign in";
  signInButton.className = me.signedIn ? "secondary" : "primary";
  signInButton.addEventListener("click", () => signIn(config));
  if (me.signedIn) $("me").append(face(me.person), el("span", {}, el("span", { class: "extra" }, "Signed in as "), el("strong", {}, me.sub)));
  else {
    $("me").textContent = "Not signed in";
    $("me").classList.add("anonymous");
  }
}

function showNotice(config, me) {
  const next = wanted(config);
  if (!next) return;
  const [text, button] = [$("notice").firstElementChild, $("notice-button")];
  const name = el("code", {}, decodeURI(next.slice(config.site.length)));
  if (me.signedIn) {
    text.append("You wanted to see ", name, ".");
    button.textContent = "Open it";
    button.addEventListener("click", () => location.assign(next));
  } else {
    text.append("Sign in to see ", name, ". You come back to it.");
    button.textContent = "Sign in";
    button.addEventListener("click", () => signIn(config));
  }
  $("notice").hidden = false;
}

// --- for the terminal

function command(text, words, full = text) {
  const button = el("button", { class: "quiet", type: "button", "aria-label": `Copy: ${words}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(full);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return el("div", { class: "command" }, el("p", {}, words), el("pre", { tabindex: 0 }, el("code", {}, text)), button);
}

function showCommands(config, me) {
  const { token } = kept(), site = config.site;
  const other = me.sub === "ben" ? "ann/notes.md" : "ben/essay.txt";
  const own = { ann: "users/ann/notes.md", ben: "users/ben/essay.txt", tess: "users/tess/timetable.csv" }[me.sub] ?? "users/gil/lights.png";
  const lines = [];
  if (me.signedIn && token) {
    $("try-text").textContent = `A token for ${me.sub}, valid for an hour. It opens nothing but this demo; a real page would not hold one.`;
    lines.push(
      command(`T=${token.slice(0, 18)}…${token.slice(-6)}`, "Keep the token in a variable", `T=${token}`),
      command(`curl -I -H "Authorization: Bearer $T" ${site}/${own}`, "One of your files: 200"),
      command(`curl -I --cookie "token=$T" ${site}/users/${other}`, "Another user's file, with the token in a cookie: 403"),
      command(`curl -s -H "Authorization: Bearer $T" "${site}/-/explain?key=users/${other}"`, "And why"));
    if (me.sub !== "gil") lines.push(command(`curl -I -r 0-999 -H "Authorization: Bearer $T" ${site}/courses/night-sky/listening.wav`, "Part of the sound: 206"));
  } else {
    $("try-text").textContent = me.signedIn
      ? "This tab has no token any more. Switch user to get one."
      : "Sign in to get a token that you can copy.";
  }
  lines.push(command(`curl -i ${site}/users/ann/notes.md`, "Without a token: 401"));
  $("try").append(...lines);
}

async function main() {
  const [site, files] = await Promise.all([json("/app/site.json"), json("/app/files.json")]);
  const config = { ...site.body, files: files.body };
  if (location.origin !== config.site) {  // http://localhost is another origin, with cookies of its own
    location.replace(config.site + location.pathname + location.search);
    return;
  }
  const answer = new URLSearchParams(location.search);
  let failure = "";
  if (answer.has("state")) {
    try {
      const next = await finishSignIn(config, answer);
      if (next && next !== `${config.site}/`) return location.replace(next);
    } catch (error) {
      failure = error.message;
    }
  }
  const { body } = await json("/-/whoami");
  const me = body ?? { signedIn: false };
  if (me.signedIn) me.sub ||= me.claims.sub[0];  // a session holds every claim as a list
  me.person = config.people.find((one) => one.sub === me.sub) ?? { sub: me.sub, name: me.sub ?? "?", groups: [] };
  $("policy").textContent = config.rules;
  showPeople(config, me);
  showNotice(config, me);
  showCommands(config, me);
  await showFiles(config, me);
  if (failure) {
    $("notice").firstElementChild.append(failure);
    $("notice-button").hidden = true;
    $("notice").setAttribute("role", "alert");
    $("notice").hidden = false;
  }
}

$("why-close").addEventListener("click", () => $("why").close());
$("why").addEventListener("click", (event) => { if (event.target === $("why")) $("why").close(); });
main().catch((error) => { $("status").textContent = `The page could not be filled: ${error.message}`; });
