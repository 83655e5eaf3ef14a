// Takes the login's secret and asks for the login while the rest of this document is still on its way: on a slow network that
// saves the user a second. What was asked here is handed to whoever would ask the same later.
const early = ((loginId, disabled) => {
  // The secret leaves the address bar, where others could read it; a reload still finds it, in this tab alone.
  function takeSecret() {
    const key = `latchkey:${loginId}`;
    let found = location.hash.slice(1);
    try {
      if (found) sessionStorage.setItem(key, found);
      else found = sessionStorage.getItem(key) || "";
    } catch {
      return found; // no storage here: then it stays where it is
    }
    if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    return found;
  }

  function ask(path) {
    const stop = new AbortController();
    const headers = { "Login-Secret": secret };
    const answer = fetch(`/v1/logins/${loginId}${path}`, { cache: "no-store", headers, signal: stop.signal });
    answer.catch(() => {}); // who takes it hears of it
    return { path, answer, stop };
  }

  const secret = takeSecret();
  let asked = secret && !disabled ? ask("/events?qr=svg") : null;

  function take(id, path, signal) {
    if (!asked || id !== loginId || path !== asked.path) return null;
    const { answer, stop } = asked;
    if (signal) signal.addEventListener("abort", () => stop.abort());
    asked = null;
    return answer;
  }

  return { secret, take };
})(shownLogin, isDisabled);
