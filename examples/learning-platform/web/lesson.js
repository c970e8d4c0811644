// One lesson on the page: a film, a picture, something to read, an assignment.

import { ask, list, send, urlOf } from "./server.js";
import { clock, el, say } from "./page.js";

const SAVE_EVERY = 5;  // seconds of film

/** Show a lesson. `progress` of this visitor is kept up to date; the function that is returned ends the lesson. */
export async function show(place, content, lesson, me, progress) {
  const save = async (seconds, done, keepalive = false) => {
    const before = progress[lesson.id];
    progress[lesson.id] = { seconds, done: done || (before?.done ?? false) };
    if (done && !before?.done) place.dispatchEvent(new CustomEvent("done", { bubbles: true }));
    const sent = send("PUT", `/api/progress/${lesson.id}`, JSON.stringify({ seconds, done }), { keepalive });
    await sent.catch(() => {});  // not worth an interruption
  };
  return { film, picture, reading, assignment }[lesson.kind](place, content, save, progress[lesson.id], me);
}

function film(place, content, save, before) {
  const note = el("p", { class: "soft" });
  const video = el("video", {
    controls: true, playsinline: true, preload: "metadata", src: content.url, "aria-label": content.attributes.alt,
  });
  let saved = before?.seconds ?? 0;
  const keep = (keepalive) => {
    if (video.readyState === 0 || video.currentTime === saved) return;
    saved = video.currentTime;
    save(video.ended ? 0 : saved, video.ended || saved > 0.95 * video.duration, keepalive);
  };
  video.addEventListener("loadedmetadata", () => {
    if (saved < 1 || saved > video.duration - 1) return;
    video.currentTime = saved;
    note.append(`Goes on at ${clock(saved)}, where you left off. `, el("button", {
      class: "link", type: "button", onclick: () => { video.currentTime = 0; video.play(); note.replaceChildren(); },
    }, "From the beginning"));
  });
  video.addEventListener("timeupdate", () => { if (Math.abs(video.currentTime - saved) >= SAVE_EVERY) keep(); });
  video.addEventListener("pause", () => keep());
  video.addEventListener("ended", () => keep());
  video.addEventListener("error", () => place.dispatchEvent(new CustomEvent("lost", { bubbles: true })));
  const hidden = () => { if (document.visibilityState === "hidden") keep(true); };
  document.addEventListener("visibilitychange", hidden);
  place.append(video, note);
  return () => {
    document.removeEventListener("visibilitychange", hidden);
    keep(true);
    video.removeAttribute("src");
    video.load();
  };
}

async function picture(place, content, save) {
  const image = el("img", { src: content.url, alt: content.attributes.alt ?? "" });
  place.append(el("figure", {}, image, el("figcaption", { class: "soft" }, content.attributes.alt ?? "")));
  await image.decode();
  await save(0, true);
}

async function reading(place, content, save) {
  place.append(el("article", { class: "prose" }, ...prose(await ask(content.url))));
  await save(0, true);
}

/** The little of Markdown that the papers use; never HTML. */
function prose(text) {
  return text.trim().split(/\n{2,}/).map((block) => {
    const heading = /^(#{1,3}) (.*)/.exec(block);
    if (heading) return el(`h${heading[1].length + 2}`, {}, heading[2]);
    if (!block.startsWith("- ")) return el("p", {}, block);
    return el("ul", {}, ...block.slice(2).split("\n- ").map((line) => el("li", {}, line)));
  });
}

async function assignment(place, content, save, before, me) {
  const id = content.id, own = `assignments/${me.sub}/${id}.txt`;
  const task = el("article", { class: "prose" }, ...prose(await ask(content.url)));
  const answers = el("section", { "aria-labelledby": "answers" });
  const text = el("textarea", { id: "answer", rows: 5, maxlength: 5000, required: true });
  const trouble = el("p", { class: "trouble", role: "alert" });
  const form = el("form", {}, el("label", { for: "answer" }, "Your answer"), text, trouble,
    el("button", { class: "primary" }, "Hand in"));

  async function refresh() {
    const found = (await list("assignments/")).filter((one) => one.Key.endsWith(`/${id}.txt`));
    const shown = await Promise.all(found.map(async (one) => {
      const author = one.Key === own ? "You" : one.Key.split("/")[1];
      const when = new Date(one.LastModified).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      return el("li", {}, el("p", {}, el("strong", {}, author), el("span", { class: "soft" }, ` ${when} `),
        el("a", { href: urlOf(one.Key) }, "Open")), el("pre", {}, await ask(urlOf(one.Key))));
    }));
    answers.replaceChildren(...shown.length
      ? [el("h3", { id: "answers" }, "Handed in"), el("ul", { class: "answers" }, ...shown)] : []);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    trouble.replaceChildren();
    try {
      await send("PUT", `/api/answers/${id}`, text.value, { headers: { "content-type": "text/plain" } });
      text.value = "";
      await Promise.all([save(0, true), refresh()]);
      answers.scrollIntoView({ block: "nearest" });
      say("Your answer was handed in.");
    } catch (error) {
      trouble.textContent = `It was not handed in: ${error.message}.`;
    }
  });
  place.append(task, form, answers);
  await refresh();
}
