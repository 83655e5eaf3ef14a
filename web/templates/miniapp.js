// What Telegram has around the page: who opened it, its colours, its buttons, its buzz. Telegram's own script may be out of
// reach; then the launch parameters in the fragment say who opened the page and in which colours, and its own buttons do.
const miniApp = (() => {
  const launch = new URLSearchParams(location.hash.slice(1));
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const SCRIPT_MS = 5000;
  const READABLE = 4.5; // the contrast that WCAG asks for; Telegram's own themes stay below it at places
  const REFUSALS = { init_data_expired: "mini_expired", tenant_disabled: "tenant_disabled" };

  const telegram = () => window.Telegram && window.Telegram.WebApp;
  const scriptIsThere = new Promise((resolve) => {
    if (telegram()) return resolve();
    for (const event of ["load", "error"]) $("telegram").addEventListener(event, resolve);
    setTimeout(resolve, SCRIPT_MS);
  });

  // --- who opened the page ---

  async function begin() {
    let initData = launch.get("tgWebAppData");
    if (!initData) {
      await scriptIsThere;
      initData = telegram() && telegram().initData;
    }
    if (!initData) return { refusal: "mini_open" };
    const signed = new URLSearchParams(initData);
    if (speakTheirLanguage(signed)) return new Promise(() => {}); // this document goes
    storageKey = `latchkey:miniapp:${signed.get("hash")}`;
    return kept() || ask(initData);
  }

  async function ask(initData) {
    try {
      const response = await fetch("/miniapp/logins", {
        method: "POST",
        cache: "no-store",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ init_data: initData }),
      });
      if (response.status === 429 || response.status >= 500) return { response };
      const answer = await response.json();
      if (!response.ok) return { refusal: REFUSALS[answer.code] || "mini_invalid" };
      keep(answer);
      return { login: answer };
    } catch {
      return {}; // no connection
    }
  }

  // The language of the app goes before the device's, unless the person has switched it here.
  function speakTheirLanguage(signed) {
    try {
      const language = JSON.parse(signed.get("user")).language_code.split("-")[0];
      const known = [...$("language").options].some(({ value }) => value === language);
      if (!known || language === root.lang || new URLSearchParams(location.search).has("lang")) return false;
      location.replace(`${location.pathname}?lang=${language}${location.hash}`);
      return true;
    } catch {
      return false; // it names none
    }
  }

  // A reload finds the login that was started again, too.
  let storageKey = "";
  let isFromStorage = false;

  function keep({ id, client_secret }) {
    try {
      sessionStorage.setItem(storageKey, JSON.stringify({ id, client_secret }));
    } catch {} // no storage here
  }

  function kept() {
    try {
      const login = JSON.parse(sessionStorage.getItem(storageKey));
      isFromStorage = Boolean(login);
      return login && { login };
    } catch {
      return null;
    }
  }

  // Whether there was one that is worth asking anew for: it is there no more.
  function forget() {
    if (!isFromStorage) return false;
    isFromStorage = false;
    sessionStorage.removeItem(storageKey);
    return true;
  }

  // --- colours ---

  const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const mix = (one, other, share) =>
    `#${channels(one)
      .map((value, at) => Math.round(value + (channels(other)[at] - value) * share).toString(16).padStart(2, "0"))
      .join("")}`;

  // The colour itself where it can be read on a ground, else as little nearer to a better one as will do.
  function readable(colour, ground, better) {
    for (let share = 0; share < 1; share += 0.1) {
      const mixed = mix(colour, better, share);
      if (contrast(mixed, ground) >= READABLE) return mixed;
    }
    return better;
  }

  function dress(theme) {
    const given = (name) => (/^#[0-9a-f]{6}$/i.test(theme[name] || "") ? theme[name] : null);
    const card = given("section_bg_color") || given("bg_color");
    const ink = given("text_color");
    if (!card || !ink || contrast(card, ink) < READABLE) return;
    const dark = luminance(card) < luminance(ink);
    root.style.colorScheme = dark ? "dark" : "light";
    const extreme = dark ? "#ffffff" : "#000000";
    const colours = {
      "--ground": given("secondary_bg_color") || card,
      "--card": card,
      "--ink": ink,
      "--soft": readable(mix(ink, card, 0.35), card, ink),
      "--line": mix(card, ink, 0.25),
      "--good": readable(dark ? "#6fd39a" : "#1c7c45", card, extreme),
      "--bad": readable(given("destructive_text_color") || (dark ? "#ff9c92" : "#b3261e"), card, extreme),
    };
    const accent = given("link_color") || given("button_color");
    if (accent) colours["--accent"] = readable(accent, card, extreme);
    const button = given("button_color");
    if (button) {
      const letters = given("button_text_color") || "#ffffff";
      colours["--brand"] = readable(button, letters, luminance(letters) > 0.4 ? "#000000" : "#ffffff");
      colours["--on-brand"] = letters;
    }
    for (const [name, value] of Object.entries(colours)) root.style.setProperty(name, value);
  }

  // --- buttons and buzz ---

  const isShown = (element) => element && !element.closest("[hidden]");

  function equip(app) {
    const { MainButton: main, BackButton: back, HapticFeedback: haptics } = app;
    let [said, ending, wrong] = ["", "", false];
    const primary = () => [...document.querySelectorAll('form [type="submit"], #again')].find(isShown);
    const goBack = () => ["to-phone", "other-number"].map($).find(isShown);

    function follow() {
      const button = primary();
      const over = isShown($("done"));
      const params = {
        text: button ? button.textContent : words.say("close"),
        is_active: !(button && button.disabled),
        is_visible: Boolean(button || over),
      };
      if (said !== JSON.stringify(params)) main.setParams(params);
      said = JSON.stringify(params);
      if (goBack()) back.show();
      else back.hide();
      buzz(over ? $("mark").className || "calm" : "");
    }

    function buzz(end) {
      const isWrong = Boolean(document.querySelector('[aria-invalid="true"]'));
      if (isWrong && !wrong) haptics.notificationOccurred("error");
      wrong = isWrong;
      if (end === ending) return;
      ending = end;
      if (end) haptics.notificationOccurred({ good: "success", bad: "error" }[end] || "warning");
      if (end) app.disableClosingConfirmation();
      else app.enableClosingConfirmation();
    }

    main.onClick(() => {
      const button = primary();
      if (!button) return app.close();
      haptics.impactOccurred("light");
      button.click();
    });
    back.onClick(() => goBack() && goBack().click());
    app.enableClosingConfirmation();
    root.classList.add("has-main-button");
    const attributeFilter = ["hidden", "disabled", "aria-invalid", "class"];
    const everything = { subtree: true, childList: true, attributes: true, attributeFilter };
    new MutationObserver(follow).observe(document.querySelector("main"), everything);
    follow();
  }

  try {
    dress(JSON.parse(launch.get("tgWebAppThemeParams")) || {});
  } catch {} // it is no JSON
  scriptIsThere.then(() => {
    const app = telegram();
    if (!app || !app.initData) return; // out of reach, or not inside Telegram
    app.ready();
    app.expand();
    dress(app.themeParams || {});
    app.onEvent("themeChanged", () => dress(app.themeParams || {}));
    equip(app);
  });
  return { begin, keep, forget };
})();
