// Small things that make up the page.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== false && value != null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

let until;

/** Tell everybody, those who listen to the page too; it goes away by itself. */
export function say(words) {
  const place = document.getElementById("said");
  place.textContent = words;
  clearTimeout(until);
  until = setTimeout(() => place.replaceChildren(), 6000);
}
