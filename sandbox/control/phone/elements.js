/* What every part of the page is made of: calls, elements, lists that keep what has not changed, switches. */

export const find = id => document.getElementById(id);

/* Call the control API; an error's message is what the sandbox said. */
export async function call(verb, path, body) {
  const answer = await fetch(path, { method: verb, body: body && JSON.stringify(body) });
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.error);
  return json;
}

/* Make an element; names are text, never markup. */
export function make(tag, looks, ...children) {
  const element = Object.assign(document.createElement(tag), { className: looks });
  element.append(...children);
  return element;
}

export function button(looks, words, onclick) {
  return Object.assign(make("button", looks, words), { type: "button", onclick });
}

let silence;

/* Say what came of a tap, at the foot of the screen; what went wrong stays longer. */
export function say(words, isGood = true) {
  clearTimeout(silence);
  find("said").className = isGood ? "" : "bad";
  find("said").textContent = words;
  silence = setTimeout(() => { find("said").textContent = ""; }, isGood ? 6_000 : 20_000);
}

/* Show a list. Each thing's key holds all that its row shows: rows with the same key stay as they are, with the focus that
   they have. Where the row with the focus goes, the section's heading gets it. */
export function showRows(list, things, key, row, nothing) {
  const before = new Map([...list.children].map(element => [element.dataset.key, element]));
  const rowOf = (name, create) => {
    const element = before.get(name) ?? create();
    element.dataset.key = name;
    return element;
  };
  const wanted = things.map(thing => rowOf(key(thing), () => row(thing)));
  if (!wanted.length && nothing) wanted.push(rowOf(nothing, () => make("li", "nothing", nothing)));
  const losesFocus = [...list.children].some(each => !wanted.includes(each) && each.contains(document.activeElement));
  for (const element of before.values()) if (!wanted.includes(element)) element.remove();
  wanted.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
  if (losesFocus) list.closest("section").querySelector("h2[tabindex], h3[tabindex]")?.focus();
}

/* A card with a button and a sentence that says what the button does; the whole card takes the tap. */
function card(looks, name, sentence, ontap) {
  const tapped = Object.assign(button("name", name, ontap), { id: `${looks}-${name.toLowerCase().replaceAll(" ", "-")}` });
  const words = Object.assign(make("span", "sentence", sentence), { id: `${tapped.id}-sentence` });
  tapped.setAttribute("aria-describedby", words.id);
  return make("div", looks, tapped, words);
}

/* One of several: which one it is, is told by `choose`. */
export function option(value, name, sentence, onchoose) {
  const element = card("option", name, sentence, () => onchoose(value));
  element.firstChild.value = value;
  return element;
}

export function choose(group, value) {
  for (const each of group.querySelectorAll("button")) each.setAttribute("aria-pressed", each.value === value);
}

/* On or off. A tap says what is wanted; how it stands is told by `turn`. */
export function toggle(name, sentence, onchange) {
  const element = card("switch", name, sentence, event => onchange(event.target.getAttribute("aria-checked") !== "true"));
  element.firstChild.setAttribute("role", "switch");
  element.append(make("span", "knob"));
  turn(element, false);
  return element;
}

export function turn(element, isOn) {
  element.querySelector("button").setAttribute("aria-checked", isOn);
}

export function explain(element, sentence) {
  const words = element.querySelector(".sentence");
  if (words.textContent !== sentence) words.textContent = sentence;
}

export const clock = time => new Date(time).toLocaleString([], { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
