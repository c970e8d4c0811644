// The school's page: which view is shown, and for whom. The address holds it: #/course/lesson.

import { show } from "./lesson.js";
import { el, say } from "./page.js";
import { ask, finishSignIn, signIn, signOut, whoAmI } from "./server.js";

const view = document.getElementById("view");
const KINDS = { film: "Film", picture: "Picture", reading: "Reading", assignment: "Assignment" };
let me = null, leave = null, turn = 0;

const button = (words, onclick, kind = "primary") => el("button", { class: kind, type: "button", onclick }, words);

/** The address that `?next=` names, if it is one of this site; "" otherwise. Whole, for a path can be //evil.example. */
function wanted() {
  try {
    const url = new URL(new URLSearchParams(location.search).get("next"));
    return url.origin === location.origin ? url.href : "";
  } catch {
    return "";
  }
}

function present(title, ...nodes) {
  document.title = `${title} · Lantern School`;
  view.replaceChildren(...nodes);
}

// --- views

function welcome(words = "") {
  const next = wanted();
  present("Welcome",
    el("section", { class: "hero" },
      el("div", {},
        el("h1", {}, "Learn to look up."),
        el("p", { class: "lead" }, "Short courses about the sky and the sea: films, pictures, papers and something to do yourself."),
        words && el("p", { class: "notice", role: "alert" }, words),
        next && el("p", { class: "notice" }, "Sign in to open ", el("code", {}, next), "."),
        button("Sign in", () => signIn(next || location.href))),
      el("div", { class: "covers" },
        el("img", { src: "/covers/night-sky.png", alt: "A full moon above dark spruces", width: 640, height: 420 }),
        el("img", { src: "/covers/tides.png", alt: "Sailing boats in a calm harbour", width: 640, height: 420 }))));
}

async function courses(isPast) {
  const [found, progress] = await Promise.all([ask("/api/courses"), ask("/api/progress")]);
  const next = wanted();
  if (isPast()) return;
  present("Your courses",
    el("h1", {}, `Hello, ${me.name.split(" ")[0]}`),
    next && el("p", { class: "notice" }, "You wanted to open ", el("a", { href: next }, next), ". ",
      "If it is not shared with you, ", button("sign in as somebody else", () => signIn(next), "link"), "."),
    el("ul", { class: "courses" }, ...found.map((course) => {
      const done = course.lessons.filter((id) => progress[id]?.done).length;
      return el("li", { class: course.enrolled ? "card" : "card closed" },
        el("img", { src: course.cover, alt: "", width: 640, height: 420 }),
        el("div", {},
          el("h2", {}, el("a", { href: `#/${course.id}` }, course.title)),
          el("p", {}, course.summary),
          course.enrolled
            ? el("p", { class: "soft" }, el("progress", { max: course.lessons.length, value: done, "aria-label": `Done of ${course.title}` }),
              ` ${done} of ${course.lessons.length} done`)
            : el("p", { class: "badge" }, "You are not enrolled")));
    })));
}

async function course(isPast, id, lessonId) {
  const [found, progress] = await Promise.all([ask(`/api/courses/${encodeURIComponent(id)}`), ask("/api/progress")]);
  if (isPast()) return null;
  const open = found.lessons.find((one) => !progress[one.id]?.done) ?? found.lessons[0];
  const lesson = found.lessons.find((one) => one.id === lessonId) ?? open;
  const place = el("section", { class: "lesson", "aria-labelledby": "lesson" });
  const rows = () => found.lessons.map((one) => el("li", {},
    el("a", { href: `#/${id}/${one.id}`, "aria-current": one === lesson ? "page" : null },
      el("span", { class: progress[one.id]?.done ? "mark done" : "mark", "aria-hidden": "true" }),
      el("span", {}, one.title, el("small", {}, `${KINDS[one.kind]}, ${one.minutes} min${progress[one.id]?.done ? ", done" : ""}`)))));
  const lessons = el("ol", {}, ...rows());
  present(lesson.title,
    el("p", {}, el("a", { href: "#/" }, "All courses")),
    el("h1", {}, found.title),
    el("div", { class: "course" }, el("nav", { "aria-label": "Lessons" }, lessons), place));
  place.addEventListener("done", () => lessons.replaceChildren(...rows()));
  const where = () => ask(`/-/contents/${encodeURIComponent(lesson.id)}`);
  const refuse = (error) => error.status === 403 ? place.replaceChildren(refusal(found, error)) : failed(error);
  place.addEventListener("lost", () => where().then(() => {  // a film cannot say why it does not come: ask again
    say("The film could not be loaded. Please try again in a moment.");
  }, refuse));
  try {
    const content = await where();
    place.append(el("div", { class: "head" }, el("h2", { id: "lesson" }, lesson.title), copyLink(content.url)));
    return await show(place, content, lesson, me, progress);
  } catch (error) {
    return refuse(error);
  }
}

function copyLink(url) {
  return button("Copy link", async () => {
    await navigator.clipboard.writeText(url);
    say("Copied. It opens only for people in this course.");
  }, "secondary");
}

function refusal(found, error) {
  return el("div", { class: "refusal", role: "alert" },
    el("h2", { id: "lesson" }, "This lesson is not open to you"),
    el("p", {}, `You are signed in as ${me.name}, and you are not enrolled in ${found.title}.`),
    el("p", {}, "Ask your teacher to enrol you, then sign in again: who is enrolled is written into your sign-in."),
    el("p", { class: "soft" }, `The door says: ${error.status}, ${error.message}.`),
    el("p", { class: "actions" }, el("a", { class: "primary", href: "#/" }, "Back to your courses"),
      button("Sign in as somebody else", () => signIn(location.href), "secondary")));
}

// --- who is here, and which view

function showWho() {
  document.getElementById("who").replaceChildren(...me ? [
    el("span", { class: "face", "aria-hidden": "true" }, me.name[0].toUpperCase()),
    el("span", { class: "name" }, me.name, el("small", {}, me.groups.includes("teachers") ? "Teacher" : me.groups.length ? "Student" : "Guest")),
    button("Sign out", async () => {
      leave?.();
      await signOut();
      location.replace("/");
    }, "secondary"),
  ] : []);
}

async function route() {
  leave?.();
  leave = null;
  const mine = ++turn, isPast = () => mine !== turn;  // somebody went on before it was there
  view.setAttribute("aria-busy", "true");
  try {
    const [, ...asked] = location.hash.split("/").map(decodeURIComponent);
    if (!me) welcome();
    else if (!asked[0]) await courses(isPast);
    else {
      const end = await course(isPast, ...asked);
      if (isPast()) end?.();
      else leave = end;
    }
  } catch (error) {
    if (!isPast()) failed(error);
  }
  if (!isPast()) view.setAttribute("aria-busy", "false");
}

function failed(error) {
  if (error.status === 401) {
    me = null;
    showWho();
    welcome("You are not signed in any more. Please sign in again; you come back to this page.");
  } else {
    present("Trouble", el("h1", {}, error.status === 404 ? "There is no such page" : "That did not work"),
      el("p", { role: "alert" }, error.message), el("p", {}, el("a", { href: "#/" }, "All courses")));
  }
}

async function main() {
  const answer = new URLSearchParams(location.search);
  let words = "";
  if (answer.has("state")) {
    history.replaceState(null, "", "/");
    try {
      const back = await finishSignIn(answer);
      if (back.split("#")[0] !== location.href) return location.replace(back);
      history.replaceState(null, "", back);
    } catch (error) {
      words = error.message;
    }
  }
  me = await whoAmI();
  showWho();
  window.addEventListener("hashchange", async () => {
    await route();
    const lesson = matchMedia("(max-width: 46rem)").matches && location.hash.split("/")[2] && view.querySelector(".lesson");
    view.focus({ preventScroll: true });
    if (lesson) lesson.scrollIntoView();  // on a phone it is below the list
    else window.scrollTo(0, 0);
  });
  if (words && !me) welcome(words);
  else await route();
  document.body.dataset.ready = "true";
}

main().catch(failed);
