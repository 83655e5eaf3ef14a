// What the page says: its texts, with plurals, numbers and times by the rules of its language.
const words = (({ texts }) => {
  const language = document.documentElement.lang;
  const numbers = new Intl.NumberFormat(language, { useGrouping: false });
  const twoDigits = new Intl.NumberFormat(language, { minimumIntegerDigits: 2 });
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
  const forms = new Intl.PluralRules(language);
  // What is filled in may be written the other way round: it must not turn what stands around it.
  const turns = document.documentElement.dir === "rtl" ? /./ : /[\u0590-\u08ff]/;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  return {
    has: (key) => key in texts,
    say: (key, values = {}) => fill(texts[key], values),
    isolate: (value) => (turns.test(value) ? `\u2068${value}\u2069` : value),
    plural: (key, n) => fill(texts[key][forms.select(n)], { n: numbers.format(n) }),
    clock: (seconds) => `${numbers.format(Math.floor(seconds / 60))}:${twoDigits.format(seconds % 60)}`,
    soon: (seconds) =>
      seconds < 100 ? relative.format(seconds, "second") : relative.format(Math.ceil(seconds / 60), "minute"),
  };
})(settings);
