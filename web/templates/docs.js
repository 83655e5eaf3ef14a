"use strict";
// Finds calls by words, remembers the language of the examples, and sends calls to this very server: nothing goes elsewhere.
{
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const search = document.querySelector("#search");
  const nothing = document.querySelector("#nothing");

  const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const section of all("section")) {
      const fits = words.every((word) => section.dataset.words.includes(word));
      section.hidden = !fits;
      if (fits) shown += 1;
      const link = document.querySelector(`nav a[href="#${CSS.escape(section.id)}"]`);
      if (link) link.parentElement.hidden = !fits;
    }
    for (const group of all("[data-group]")) group.hidden = !all(`section[data-in="${group.dataset.group}"]:not([hidden])`).length;
    nothing.hidden = shown > 0;
  };
  for (const section of all("section")) section.dataset.words = section.textContent.toLowerCase();
  search.addEventListener("input", find);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });

  const choose = (language) => {
    for (const tab of all("[role=tab]")) {
      const chosen = tab.dataset.language === language;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
    }
    for (const example of all(".example")) example.hidden = example.dataset.language !== language;
  };
  for (const tab of all("[role=tab]")) {
    tab.addEventListener("click", () => choose(tab.dataset.language));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const tabs = all("[role=tab]", tab.parentElement);
      const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      choose(next.dataset.language);
      next.focus();
    });
  }

  // The key stays in this tab's memory: it is gone when the page is.
  const key = document.querySelector("#key");
  const send = async (form) => {
    const answer = form.querySelector("output");
    let path = form.dataset.path;
    for (const field of all("input[data-name]", form)) {
      path = path.replace(`{${field.dataset.name}}`, encodeURIComponent(field.value.trim()));
    }
    const query = form.querySelector("[name=query]").value.trim();
    if (query) path += `?${query.replace(/^\?/, "")}`;
    const headers = {};
    const secret = key.value.trim();
    if (secret) headers[secret.startsWith("lk_") ? "Authorization" : "Login-Secret"] = secret.startsWith("lk_") ? `Bearer ${secret}` : secret;
    const body = form.querySelector("textarea")?.value.trim();
    if (body) headers["Content-Type"] = "application/json";
    answer.textContent = `${form.dataset.method} ${path} …`;
    try {
      const told = await fetch(path, { method: form.dataset.method, headers, body: body || undefined });
      const kind = told.headers.get("Content-Type") || "";
      const text = kind.startsWith("image/png") ? `${(await told.blob()).size} bytes` : await told.text();
      answer.textContent = `${told.status} ${told.statusText}\n\n${kind.includes("json") && text ? JSON.stringify(JSON.parse(text), null, 2) : text}`;
      answer.dataset.good = told.ok;
    } catch {
      answer.textContent = "No answer: is this server still there?";
      answer.dataset.good = false;
    }
  };
  for (const form of all("form.try")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
  }
  choose("curl");
}
