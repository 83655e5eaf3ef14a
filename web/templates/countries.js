// Which country a phone number belongs to, as far as its first digits tell.
const countries = (({ dialCodes }) => {
  const DEVANAGARI_ZERO = 0x966;
  const FLAG_LETTERS = 0x1f1a5; // and a letter's own code

  // The digits that people type in Latin, Arabic, Persian and Hindi.
  const digit = (character) => {
    const code = character.codePointAt(0);
    return code >= DEVANAGARI_ZERO && code < DEVANAGARI_ZERO + 10 ? code - DEVANAGARI_ZERO : code & 15;
  };

  function regionOf(number) {
    const digits = [...number.replace(/\P{Nd}/gu, "")].map(digit).join("").replace(/^00/, "");
    for (let length = 3; length > 0; length -= 1) {
      const regions = dialCodes[digits.slice(0, length)];
      if (regions) return regions.split(" ")[0];
    }
    return null;
  }

  // The calling code of the country that the browser is set to.
  function codeOfThisPlace() {
    const tags = (navigator.languages || [navigator.language]).map((tag) => /-([A-Z]{2})\b/.exec(tag));
    const region = (tags.find(Boolean) || [])[1];
    return Object.keys(dialCodes).find((code) => dialCodes[code].split(" ").includes(region));
  }

  const flag = (region) => String.fromCodePoint(...[...region].map((letter) => FLAG_LETTERS + letter.charCodeAt(0)));
  const nameOf = (region) => new Intl.DisplayNames([document.documentElement.lang], { type: "region" }).of(region);
  return { regionOf, codeOfThisPlace, flag, nameOf };
})(settings);
